/* A TFLite external delegate that takes over RESHAPE, for tests.
 *
 * The declarations follow the stable C interface of external delegates (create, destroy) and
 * the beginnings of the structs that a delegate must see. Options:
 *   take  builtin code of the operator to take (22 = RESHAPE), -1 = none
 *   most  so many operators are taken at most
 *   fail  create | prepare | invoke | crash | hang (the last two when it runs)
 *         | crash-load | hang-load (at creation) | crash-lost (without its device)
 *   add   a number that is added to every byte, to give wrong answers
 *   slow  microseconds that each run takes longer (or compiled in: -DSLOW=…)
 *   burdened  a file: while it is there, each run takes 20 ms longer
 *   device  a file that stands for its device: without it nothing works
 */
#define _DEFAULT_SOURCE
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef SLOW
#define SLOW 0
#endif

typedef enum { OK = 0, FAILED = 1 } Status;
typedef struct { int size; int data[]; } Ints;
struct Context;
struct Delegate;

typedef struct {
  int type;
  void *data;
  Ints *dims;
  struct { float scale; int32_t zero_point; } params;
  int allocation;
  size_t bytes;
  const void *allocated;
  const char *name;
  struct Delegate *delegate;
  int buffer_handle;
  bool stale, variable;
  struct { int type; void *params; } quantization;
  void *sparsity;
  const Ints *signature;
} Tensor;

typedef struct { Ints *inputs, *outputs, *intermediates, *temporaries; void *user_data; } Node;

typedef struct {
  void *(*init)(struct Context *, const char *, size_t);
  void (*release)(struct Context *, void *);
  Status (*prepare)(struct Context *, Node *);
  Status (*invoke)(struct Context *, Node *);
  const char *(*profile)(const struct Context *, const Node *);
  int32_t builtin_code;
  const char *custom_name;
  int version;
  void *later[4]; /* fields of newer versions: zero */
} Registration;

typedef struct Context {
  size_t tensors_size;
  Status (*plan)(struct Context *, Ints **);
  Tensor *tensors;
  void *impl;
  Status (*resize)(struct Context *, Tensor *, Ints *);
  void (*report)(struct Context *, const char *, ...);
  Status (*add_tensors)(struct Context *, int, int *);
  Status (*node)(struct Context *, int, Node **, Registration **);
  Status (*replace)(struct Context *, Registration, const Ints *, struct Delegate *);
} Context;

typedef struct Delegate {
  void *data;
  Status (*prepare)(Context *, struct Delegate *);
  void *copy_from, *copy_to, *free_handle;
  int64_t flags;
  void *builder;
} Delegate;

static int take = 22, most = 1000, add = 0, slow = SLOW;
static char failing[16], device[512], burdened[512];

static bool lost(void) { return device[0] && access(device, F_OK) != 0; }

static Status kernel_invoke(Context *context, Node *node) {
  if (!strcmp(failing, "crash-lost") && lost()) abort();
  if (!strcmp(failing, "invoke") || lost()) {
    context->report(context, "toy: device lost");
    return FAILED;
  }
  if (!strcmp(failing, "crash")) abort();
  while (!strcmp(failing, "hang")) sleep(1);
  if (slow) usleep((useconds_t)slow);
  if (burdened[0] && access(burdened, F_OK) == 0) usleep(20000);
  /* The border of a partition has no order: the shape may come before the values. */
  Tensor *out = &context->tensors[node->outputs->data[0]], *in = NULL;
  for (int i = 0; i < node->inputs->size && !in; i++)
    if (context->tensors[node->inputs->data[i]].bytes == out->bytes)
      in = &context->tensors[node->inputs->data[i]];
  if (!in) return FAILED;
  for (size_t i = 0; i < out->bytes; i++)
    ((uint8_t *)out->data)[i] = (uint8_t)(((uint8_t *)in->data)[i] + add);
  return OK;
}

static Status kernel_prepare(Context *context, Node *node) {
  (void)node;
  if (strcmp(failing, "prepare")) return OK;
  context->report(context, "toy: no such firmware");
  return FAILED;
}

static Status delegate_prepare(Context *context, Delegate *delegate) {
  Ints *plan;
  if (context->plan(context, &plan) != OK) return FAILED;
  Ints *wanted = calloc(1, sizeof(Ints) + sizeof(int) * (size_t)plan->size);
  for (int i = 0; i < plan->size; i++) {
    Node *node;
    Registration *registration;
    context->node(context, plan->data[i], &node, &registration);
    if (registration->builtin_code == take && wanted->size < most)
      wanted->data[wanted->size++] = plan->data[i];
  }
  Registration kernel = {.prepare = kernel_prepare, .invoke = kernel_invoke,
                         .custom_name = "ToyDelegate", .version = 1};
  Status status = wanted->size ? context->replace(context, kernel, wanted, delegate) : OK;
  free(wanted);
  return status;
}

Delegate *tflite_plugin_create_delegate(char **keys, char **values, size_t count,
                                        void (*report)(const char *)) {
  take = 22, most = 1000, add = 0, slow = SLOW, failing[0] = device[0] = burdened[0] = 0;
  for (size_t i = 0; i < count; i++) {
    if (!strcmp(keys[i], "take")) take = atoi(values[i]);
    if (!strcmp(keys[i], "add")) add = atoi(values[i]);
    if (!strcmp(keys[i], "most")) most = atoi(values[i]);
    if (!strcmp(keys[i], "slow")) slow = atoi(values[i]);
    if (!strcmp(keys[i], "device")) strncpy(device, values[i], sizeof device - 1);
    if (!strcmp(keys[i], "burdened")) strncpy(burdened, values[i], sizeof burdened - 1);
    if (!strcmp(keys[i], "fail")) strncpy(failing, values[i], sizeof failing - 1);
  }
  if (!strcmp(failing, "crash-load")) abort();
  while (!strcmp(failing, "hang-load")) sleep(1);
  if (!strcmp(failing, "create") || lost()) {
    report("toy: no device found");
    return NULL;
  }
  Delegate *delegate = calloc(1, sizeof *delegate);
  delegate->prepare = delegate_prepare;
  return delegate;
}

void tflite_plugin_destroy_delegate(Delegate *delegate) { free(delegate); }
