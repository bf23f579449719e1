/* Runs a SavedModel without Python: the TensorFlow C API, and nothing of ours.

   serve MODEL_DIR SPACING_MM IMAGE_INPUT SPACING_INPUT OUTPUT... -- FILE...

   Inputs and outputs are tensor names as in the signature, "operation:index". All files are one
   batch. For each output one line: its name, its number of dimensions, these, and its values. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"

static void fail(const char *what, const char *why) {
  fprintf(stderr, "%s: %s\n", what, why);
  exit(1);
}

static TF_Output named(TF_Graph *graph, const char *name) {
  char operation[4096];
  const char *colon = strrchr(name, ':');
  if (!colon || colon - name >= (long)sizeof operation) fail(name, "no tensor name");
  memcpy(operation, name, colon - name);
  operation[colon - name] = 0;
  TF_Output found = {TF_GraphOperationByName(graph, operation), atoi(colon + 1)};
  if (!found.oper) fail(name, "not in the graph");
  return found;
}

static void read_file(const char *path, TF_TString *into) {
  FILE *file = fopen(path, "rb");
  if (!file || fseek(file, 0, SEEK_END)) fail(path, "cannot be read");
  long size = ftell(file);
  char *bytes = malloc(size ? size : 1);
  rewind(file);
  if (fread(bytes, 1, size, file) != (size_t)size) fail(path, "cannot be read");
  TF_TString_Init(into);
  TF_TString_Copy(into, bytes, size);
  free(bytes);
  fclose(file);
}

static void print(const char *name, TF_Tensor *tensor) {
  int64_t count = TF_TensorElementCount(tensor);
  printf("%s %d", name, TF_NumDims(tensor));
  for (int k = 0; k < TF_NumDims(tensor); ++k) printf(" %lld", (long long)TF_Dim(tensor, k));
  for (int64_t k = 0; k < count; ++k) {
    void *data = TF_TensorData(tensor);
    switch (TF_TensorType(tensor)) {
      case TF_FLOAT: printf(" %.9g", ((float *)data)[k]); break;
      case TF_INT32: printf(" %d", ((int32_t *)data)[k]); break;
      case TF_BOOL: printf(" %d", ((unsigned char *)data)[k]); break;
      case TF_STRING: {
        TF_TString *text = (TF_TString *)data + k;
        printf(" %.*s", (int)TF_TString_GetSize(text), TF_TString_GetDataPointer(text));
        break;
      }
      default: fail(name, "a type that no output should have");
    }
  }
  printf("\n");
}

int main(int argc, char **argv) {
  int separator = 5;
  while (separator < argc && strcmp(argv[separator], "--")) ++separator;
  int outputs_count = separator - 5, files = argc - separator - 1;
  if (outputs_count < 1 || files < 1) fail("usage", "see the top of this file");

  TF_Status *status = TF_NewStatus();
  TF_Graph *graph = TF_NewGraph();
  TF_SessionOptions *options = TF_NewSessionOptions();
  const char *tags[] = {"serve"};
  TF_Session *session =
      TF_LoadSessionFromSavedModel(options, NULL, argv[1], tags, 1, graph, NULL, status);
  if (TF_GetCode(status) != TF_OK) fail(argv[1], TF_Message(status));

  int64_t shape[] = {files};
  TF_Tensor *images = TF_AllocateTensor(TF_STRING, shape, 1, files * sizeof(TF_TString));
  TF_Tensor *spacing = TF_AllocateTensor(TF_FLOAT, shape, 1, files * sizeof(float));
  for (int k = 0; k < files; ++k) {
    read_file(argv[separator + 1 + k], (TF_TString *)TF_TensorData(images) + k);
    ((float *)TF_TensorData(spacing))[k] = (float)atof(argv[2]); /* "nan" is a number, too */
  }

  TF_Output inputs[] = {named(graph, argv[3]), named(graph, argv[4])};
  TF_Tensor *values[] = {images, spacing};
  TF_Output *outputs = calloc(outputs_count, sizeof *outputs);
  TF_Tensor **answers = calloc(outputs_count, sizeof *answers);
  for (int k = 0; k < outputs_count; ++k) outputs[k] = named(graph, argv[5 + k]);
  TF_SessionRun(session, NULL, inputs, values, 2, outputs, answers, outputs_count, NULL, 0, NULL, status);
  if (TF_GetCode(status) != TF_OK) fail("serving_default", TF_Message(status));
  for (int k = 0; k < outputs_count; ++k) print(argv[5 + k], answers[k]);
  return 0; /* the process ends: nothing is freed */
}
