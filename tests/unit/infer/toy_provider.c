/* A plugin library of ONNX Runtime execution providers that brings none, for tests: what becomes of
 * a process that registers a bad one. The entry points are those of ONNX Runtime's C interface for
 * plugins; none of its structs is touched.
 *   -DCRASH  it takes the process down when it is registered
 *   -DHANG   it never returns
 *   (else)   it finds no device
 */
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

void *CreateEpFactories(const char *name, const void *api, const void *logger, void **factories,
                        size_t most, size_t *count) {
  (void)name, (void)api, (void)logger, (void)factories, (void)most;
#ifdef CRASH
  abort();
#endif
#ifdef HANG
  while (1) sleep(1);
#endif
  *count = 0;
  return NULL;
}

void *ReleaseEpFactory(void *factory) {
  (void)factory;
  return NULL;
}
