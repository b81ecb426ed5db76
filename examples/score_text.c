/* Scores token ids with an artifact through the engine's C interface: how many bits the model needs for them.
 *
 *   score_text MODEL.par5 ID ID ID …
 *
 * Builds against an installed par5: cc score_text.c $(pkg-config --cflags --libs --static par5-engine) */
#include <math.h>
#include <par5_engine.h>
#include <stdio.h>
#include <stdlib.h>

static int fail(par5_engine* engine, int status) {
  fprintf(stderr, "score_text: %s\n", engine ? par5_engine_message(engine) : "out of memory");
  par5_engine_close(engine);
  return status;
}

/* -log2 of the probability that the logits give a token. */
static double bits_of(const float* logits, size_t vocab, size_t token) {
  double largest = logits[0], sum = 0;
  for (size_t i = 1; i < vocab; ++i)
    if (logits[i] > largest) largest = logits[i];
  for (size_t i = 0; i < vocab; ++i) sum += exp(logits[i] - largest);
  return (log(sum) + largest - logits[token]) / log(2.0);
}

int main(int argc, char** argv) {
  if (argc < 3) {
    fprintf(stderr, "usage: score_text MODEL.par5 ID ID ...\n");
    return 2;
  }
  par5_engine* engine = NULL;
  int status = par5_engine_open(argv[1], "fp32", NULL, 0, 0, &engine);
  if (status != 0) return fail(engine, status);

  const size_t count = (size_t)argc - 2, vocab = par5_engine_vocab(engine);
  uint16_t* tokens = malloc(count * sizeof *tokens);
  float* logits = malloc(count * vocab * sizeof *logits);
  if (!tokens || !logits) return fail(NULL, 5);
  for (size_t i = 0; i < count; ++i) tokens[i] = (uint16_t)atoi(argv[i + 2]);

  status = par5_engine_eval(engine, tokens, count, logits);
  if (status != 0) return fail(engine, status);
  double bits = 0;
  for (size_t i = 0; i + 1 < count; ++i) bits += bits_of(logits + i * vocab, vocab, tokens[i + 1]);
  printf("%.6f bits for %zu tokens after the first (kernel %s)\n", bits, count - 1, par5_engine_kernel(engine));

  free(logits);
  free(tokens);
  par5_engine_close(engine);
  return 0;
}
