/* The exact engine for other languages: plain C types, no exceptions, no printing. Functions that can fail return 0 or
 * the exit status that `par5` would end with (2 usage, 3 bad data, 4 I/O, 5 resource limit, 70 internal) and leave a
 * message that par5_engine_message gives. One engine serves one thread at a time; several engines are independent. */
#ifndef PAR5_ENGINE_H
#define PAR5_ENGINE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct par5_engine par5_engine;

/* Opens an artifact (*.par5). `arithmetic`: "fp32", "int8" or "fp32-adds"; NULL: "fp32". `kernel`: a name that
 * par5_engine_kernel can return; NULL: the best of this CPU. `threads` 0: one per core. `capacity`: most tokens of a
 * text; 0: the model's context. *engine is set also on failure, so that it can say why; close it in any case. It is
 * NULL only when there is no memory at all. */
int par5_engine_open(const char* path, const char* arithmetic, const char* kernel, size_t threads, size_t capacity,
                     par5_engine** engine);
void par5_engine_close(par5_engine* engine);

/* Of an open engine. */
size_t par5_engine_vocab(const par5_engine* engine);
size_t par5_engine_capacity(const par5_engine* engine);
size_t par5_engine_length(const par5_engine* engine); /* tokens of the text so far */
const char* par5_engine_kernel(const par5_engine* engine);
/* The last failure; "" if there was none. Valid until the next call. */
const char* par5_engine_message(const par5_engine* engine);

/* Continues the text by `count` tokens. `logits` (may be NULL) takes the softcapped logits of each of them, row-major
 * [count, vocab]: row i predicts the token after tokens[i]. On failure the text stays as it was. */
int par5_engine_eval(par5_engine* engine, const uint16_t* tokens, size_t count, float* logits);
/* Logits [vocab] of the text's last token, from the last par5_engine_eval that had tokens; NULL before it. Valid until
 * the next call. */
const float* par5_engine_logits(const par5_engine* engine);
/* Shortens the text to its first `length` tokens; 0 begins a new one. */
void par5_engine_truncate(par5_engine* engine, size_t length);

#ifdef __cplusplus
}
#endif
#endif
