# Packages, the signed repository, and proofs on systems that really boot. `make package-tools`
# installs what they need (Debian); each says by itself what is missing.
RELEASES ?= bookworm trixie
ARCHES ?= amd64 arm64
PACK ?= xz
KEY ?=
ADDRESS ?=
PACKAGE_TOOLS := debhelper dpkg-dev fakeroot apt-utils gnupg lintian mmdebstrap systemd-container \
                 qemu-user-static proot mosquitto buildah

ENGINE ?= docker
PROOFS ?=
.PHONY: site package-tools deb repo tarball boot boot-brief footprint image container proven

package-tools:  ## what packaging needs, by apt
	$(if $(filter-out 0,$(shell id -u)),sudo) apt-get install -y --no-install-recommends $(PACKAGE_TOOLS)

deb: $(VENV)/.dev  ## Debian packages of all releases and architectures, in build/deb
	@for release in $(RELEASES); do for arch in $(ARCHES); do \
	  step=all; [ $$arch = amd64 ] || step=libraries; \
	  $(BIN)/python packaging/deb/build.py --release $$release --arch $$arch --pack $(PACK) \
	    --step $$step || exit 1; done; done

repo: deb  ## the signed apt repository in build/apt: make repo KEY=… ADDRESS=https://…
	@$(BIN)/python packaging/deb/repository.py $(if $(KEY),--key $(KEY)) \
	  $(if $(ADDRESS),--address $(ADDRESS))

tarball: $(VENV)/.dev  ## for systems without apt: archives with install.sh, in build/tarball
	@for release in $(RELEASES); do for arch in $(ARCHES); do \
	  $(BIN)/python packaging/tarball/build.py --release $$release --arch $$arch || exit 1; \
	done; done

image:  ## the container image, of the packages in build/deb/trixie: make image ENGINE=podman
	$(ENGINE) build -t edgeagent -f packaging/container/Containerfile build/deb/trixie

container: $(VENV)/.dev  ## build the image with buildah and prove it: confined, healthy, stopped (root)
	$(BIN)/python packaging/prove/container.py

boot: $(VENV)/.dev  ## install, break, upgrade, reboot and purge on a Debian that boots (root)
	$(BIN)/python packaging/prove/boot.py

boot-brief: $(VENV)/.dev  ## packages of Debian 12 built, installed, crashed, purged: two minutes (root)
	$(BIN)/python packaging/deb/build.py --release bookworm --arch amd64 --pack zstd
	$(BIN)/python packaging/deb/repository.py
	$(BIN)/python packaging/prove/boot.py --brief

arm64: $(VENV)/.dev  ## the arm64 packages under emulation, results beside those of this machine (root)
	$(BIN)/python packaging/prove/arm.py

footprint: $(VENV)/.dev  ## sizes, hashes of two builds, lintian, of what lies in build/deb
	$(BIN)/python packaging/prove/footprint.py

proven: $(VENV)/.dev  ## prove and write docs/proven.md: make proven PROOFS="packages boot-12 arm64"
	$(BIN)/python packaging/prove/proven.py $(PROOFS)

# The environment of the pages is their own: nothing of it belongs to the agent.
.venv-docs/.docs: packaging/locks/docs.txt
	@$(PYTHON) -m venv .venv-docs
	@.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

site: .venv-docs/.docs  ## the documents as pages that are searched offline: build/site/index.html
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --quiet --config-file packaging/site/mkdocs.yml
	.venv-docs/bin/python packaging/site/check.py build/site
