"""The synthetic scenes: one world per seed, known truth, plausible physics."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from edgeagent.capture.synthetic import LABELS, BeltScene, VibrationScene, bpfo
from edgeagent.prepare.spectrum import band_edges, log_spectrum


class TestBeltScene:
    def test_picture_is_bgr_of_the_size_asked_for(self) -> None:
        picture, _ = BeltScene(1, (480, 270)).render(0)
        assert picture.shape == (270, 480, 3)
        assert picture.dtype == np.uint8
        assert picture.flags.c_contiguous

    def test_same_seed_and_number_give_the_same_frame_in_any_order(self) -> None:
        first = BeltScene(7)
        earlier = [first.render(n) for n in (0, 50, 400)]
        second = BeltScene(7)
        for n, (picture, truths) in zip((400, 50, 0), reversed(earlier), strict=True):
            again, truths_again = second.render(n)
            assert np.array_equal(again, picture)
            assert truths_again == truths

    def test_a_frame_is_the_callers_own(self) -> None:
        scene = BeltScene(2)
        picture, _ = scene.render(3)
        kept = picture.copy()
        scene.render(4)
        picture[:] = 0
        assert np.array_equal(scene.render(3)[0], kept)

    def test_seeds_differ(self) -> None:
        assert not np.array_equal(BeltScene(1).render(9)[0], BeltScene(2).render(9)[0])

    @pytest.mark.parametrize("size", [(320, 240), (640, 480), (480, 270), (96, 96), (300, 225)])
    def test_boxes_lie_inside_the_picture(self, size: tuple[int, int]) -> None:
        scene = BeltScene(4, size, fault_rate=0.6)
        for n in (*range(0, 40, 3), 400, 4000):
            for truth in scene.render(n)[1]:
                x1, y1, x2, y2 = truth.box
                assert 0 <= x1 < x2 <= 1
                assert 0 <= y1 < y2 <= 1
                assert 0 < truth.visible <= 1
                assert truth.label in LABELS
                assert truth.label == scene.part(truth.part)

    def test_boxes_hold_the_parts(self) -> None:
        """Inside its box a part is brighter than the dark belt around it."""
        scene = BeltScene(5)
        height, width = scene.height, scene.width
        corners = (width, height, width, height)
        seen = 0
        for n in range(0, 300, 29):
            picture, truths = scene.render(n)
            grey = picture.mean(axis=2)
            belt = np.ones(grey.shape, bool)
            belt[: height // 9] = belt[-(height // 9) :] = False
            for truth in truths:
                x1, y1, x2, y2 = np.rint(np.array(truth.box) * corners).astype(int)
                belt[y1:y2, x1:x2] = False
            for truth in truths:
                if truth.visible < 1:
                    continue
                x1, y1, x2, y2 = np.rint(np.array(truth.box) * corners).astype(int)
                assert grey[y1:y2, x1:x2].mean() > grey[belt].mean() * 1.2
                seen += 1
        assert seen > 10

    def test_parts_move_to_the_right_at_belt_speed(self) -> None:
        scene = BeltScene(3, speed=0.02)
        before = {t.part: t.box for t in scene.render(100)[1] if t.visible == 1}
        after = {t.part: t.box for t in scene.render(103)[1] if t.visible == 1}
        both = before.keys() & after.keys()
        assert both
        for part in both:
            assert after[part][0] - before[part][0] == pytest.approx(3 * 6 / 320)
            assert after[part][1] == before[part][1]

    def test_parts_do_not_overlap_and_leave_the_frame_for_good(self) -> None:
        scene = BeltScene(8)
        last_seen: dict[int, int] = {}
        for n in range(0, 480, 4):
            truths = sorted(scene.render(n)[1], key=lambda truth: truth.box[0])
            for left, right in pairwise(truths):
                assert left.box[2] <= right.box[0]
            for truth in truths:
                assert last_seen.get(truth.part, n - 4) == n - 4, "a part came back"
                last_seen[truth.part] = n
        assert len(last_seen) > 16

    @pytest.mark.parametrize("rate", [0.0, 0.5, 1.0])
    def test_fault_rate_is_the_share_of_faulty_parts(self, rate: float) -> None:
        scene = BeltScene(6, fault_rate=rate)
        counts = Counter(scene.part(number) for number in range(2000))
        parts = 2000 - counts[""]
        assert 0.05 < counts[""] / 2000 < 0.2
        assert (parts - counts["whole"]) / parts == pytest.approx(rate, abs=0.05)
        if rate:
            assert counts["cracked"] / (parts * rate) == pytest.approx(0.5, abs=0.06)

    def test_light_changes(self) -> None:
        scene = BeltScene(9)
        levels = [scene.render(n)[0][:8].mean() for n in range(0, 900, 60)]
        assert np.ptp(levels) > 10


class TestVibrationScene:
    def test_shape_type_and_names(self) -> None:
        one, three = VibrationScene(1), VibrationScene(1, channels=3)
        assert one.block(0, 256).shape == (256, 1)
        assert three.block(0, 256).shape == (256, 3)
        assert three.block(0, 256).dtype == np.float32
        assert one.channels == ("x",)
        assert three.channels == ("x", "y", "z")
        with pytest.raises(ValueError, match="1 or 3"):
            VibrationScene(1, channels=2)

    @pytest.mark.parametrize("second", [0.0, 250.0])
    def test_blocks_join_without_a_seam(self, second: float) -> None:
        start = int(second * 8000)
        whole = VibrationScene(3, channels=3).block(start, 9000)
        scene = VibrationScene(3, channels=3)
        late = scene.block(start + 5000, 4000)
        early = scene.block(start, 5000)
        assert np.allclose(np.concatenate([early, late]), whole, atol=1e-5)

    def test_seeds_are_different_machines(self) -> None:
        a, b = VibrationScene(1), VibrationScene(2)
        assert a.shaft_hz != b.shaft_hz
        assert a.resonance_hz != b.resonance_hz

    def test_severity_follows_the_schedule(self) -> None:
        scene = VibrationScene(1, healthy_s=10, fail_s=20)
        seconds = [0, 10, 12, 15, 19, 20, 1000]
        severities = [scene.severity(second) for second in seconds]
        assert severities[:2] == [0, 0]
        assert severities[-2:] == [1, 1]
        assert severities == sorted(severities)
        assert 0 < severities[2] < severities[3] < 1

    def test_schedule_without_growth_is_a_step(self) -> None:
        scene = VibrationScene(1, healthy_s=10, fail_s=10)
        assert [scene.severity(9.9), scene.severity(10)] == [0, 1]

    def test_sound_bearing_does_not_change_with_the_schedule(self) -> None:
        soon, late = VibrationScene(4, healthy_s=5, fail_s=9), VibrationScene(4)
        assert np.array_equal(soon.block(8000, 4000), late.block(8000, 4000))

    def test_damage_raises_the_energy_at_the_resonance(self) -> None:
        scene = VibrationScene(5, healthy_s=10, fail_s=60)
        edges = band_edges(40, 50, 4000)
        band = int(np.searchsorted(edges, scene.resonance_hz)) - 1

        def level(second: float) -> float:
            rows = [
                log_spectrum(
                    scene.block(int(second * 8000) + k * 1024, 1024),
                    8000,
                    bands=40,
                    fmin_hz=50,
                    fmax_hz=4000,
                )[band]
                for k in range(16)
            ]
            return float(np.mean(rows))

        sound, early, failed = level(5), level(30), level(65)
        assert early > sound + 0.2
        assert failed > early + 0.5

    def test_impacts_come_at_the_rate_of_passing_balls(self) -> None:
        """The envelope round the resonance has a line at BPFO when the ring is damaged."""
        scene = VibrationScene(6, healthy_s=0, fail_s=0.5)
        values = scene.block(8000, 32768)[:, 0].astype(np.float64)
        lines = np.fft.rfft(values)
        hertz = np.fft.rfftfreq(len(values), 1 / 8000)
        lines[np.abs(hertz - scene.resonance_hz) > 500] = 0
        envelope = np.abs(np.fft.irfft(lines)) - np.abs(np.fft.irfft(lines)).mean()
        power = np.abs(np.fft.rfft(envelope * np.hanning(len(envelope)))) ** 2
        near = (hertz > 60) & (hertz < 120)
        peak = hertz[near][power[near].argmax()]
        assert peak == pytest.approx(bpfo(scene.shaft_hz), rel=0.01)

    def test_shaft_speed_is_the_strongest_low_line(self) -> None:
        scene = VibrationScene(7)
        values = scene.block(0, 32768)[:, 0]
        hertz = np.fft.rfftfreq(len(values), 1 / 8000)
        power = np.abs(np.fft.rfft(values * np.hanning(len(values)))) ** 2
        low = (hertz > 5) & (hertz < 300)
        assert hertz[low][power[low].argmax()] == pytest.approx(scene.shaft_hz, abs=0.5)
