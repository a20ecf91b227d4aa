/* SPDX-License-Identifier: Apache-2.0
 * A stand-in for libdlr.so: the C interface of DLR over a model that adds a number, read from the package's
 * compiled.params, to a float32 vector. It checks what the real library takes for granted, and counts live models. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { float addend; float input[4]; int64_t rows; int ran; int running; } Model;
typedef void* DLRModelHandle;

static char error[256];
static int live;

static int fail(const char* text) { snprintf(error, sizeof error, "%s", text); return -1; }
const char* DLRGetLastError(void) { return error; }
int StandInLiveModels(void) { return live; }

int CreateDLRModel(DLRModelHandle* handle, const char* path, int device, int id) {
  char name[4096];
  float addend;
  if (device != 1 || id != 0) return fail("only the CPU");
  snprintf(name, sizeof name, "%s/compiled.params", path);
  FILE* file = fopen(name, "r");
  if (!file) return fail("compiled.params is missing");
  int read = fscanf(file, "%f", &addend);
  fclose(file);
  if (read != 1) return fail("compiled.params is damaged");
  Model* model = calloc(1, sizeof *model);
  model->addend = addend;
  model->rows = 1;
  live++;
  *handle = model;
  return 0;
}
int DeleteDLRModel(DLRModelHandle* handle) { free(*handle); *handle = NULL; live--; return 0; }
int GetDLRNumInputs(DLRModelHandle* handle, int* number) { *number = 1; return 0; }
int GetDLRNumOutputs(DLRModelHandle* handle, int* number) { *number = 1; return 0; }
int GetDLRInputName(DLRModelHandle* handle, int i, const char** name) { *name = "d\xe4ta"; return 0; } /* no UTF-8 */
int GetDLRInputType(DLRModelHandle* handle, int i, const char** type) {
  *type = ((Model*)*handle)->addend < 0 ? "complex64" : "float32";
  return 0;
}
int GetDLROutputType(DLRModelHandle* handle, int i, const char** type) { *type = "float32"; return 0; }
int GetDLRInputSizeDim(DLRModelHandle* handle, int i, int64_t* size, int* rank) { *size = 4; *rank = 2; return 0; }
int GetDLRInputShape(DLRModelHandle* handle, int i, int64_t* shape) { shape[0] = 1; shape[1] = 4; return 0; }
int GetDLROutputSizeDim(DLRModelHandle* handle, int i, int64_t* size, int* rank) {
  *size = ((Model*)*handle)->ran ? 4 : -1;
  *rank = 2;
  return 0;
}
int GetDLROutputShape(DLRModelHandle* handle, int i, int64_t* shape) { /* as relayvm: known after a run only */
  int ran = ((Model*)*handle)->ran;
  shape[0] = ran ? 1 : -1;
  shape[1] = ran ? 4 : -1;
  return 0;
}
int SetDLRInput(DLRModelHandle* handle, const char* name, const int64_t* shape, const void* data, int rank) {
  if (strcmp(name, "d\xe4ta") != 0) return fail("unknown input");
  if (rank != 2 || shape[0] != 1 || shape[1] != 4) return fail("wrong shape");
  memcpy(((Model*)*handle)->input, data, sizeof ((Model*)*handle)->input);
  return 0;
}
int RunDLRModel(DLRModelHandle* handle) {
  Model* model = *handle;
  if (__sync_fetch_and_add(&model->running, 1) != 0) abort(); /* two runs at once: the caller broke the contract */
  for (volatile int i = 0; i < 20000; i++) {}
  model->ran = 1;
  __sync_fetch_and_sub(&model->running, 1);
  return 0;
}
int GetDLROutput(DLRModelHandle* handle, int i, void* out) {
  Model* model = *handle;
  for (int k = 0; k < 4; k++) ((float*)out)[k] = model->input[k] + model->addend;
  return 0;
}
int GetDLRBackend(DLRModelHandle* handle, const char** name) { *name = "stand-in"; return 0; }
#ifndef EARLY_VERSION
#include <stdbool.h>
int GetDLRHasMetadata(DLRModelHandle* handle, bool* has) { *has = true; return 0; }
int GetDLROutputName(DLRModelHandle* handle, int i, const char** name) { *name = "sum"; return 0; }
int SetDLRNumThreads(DLRModelHandle* handle, int threads) { return threads > 0 ? 0 : fail("no threads"); }
#endif
