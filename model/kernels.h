// Fused CPU kernels over rows of plain memory, chosen at run time for the widest instruction set that the CPU has. No
// LibTorch here. Each works on rows [begin, end), so that callers can share rows among threads; sums over rows are
// added to arrays that the caller owns, one per thread. Arithmetic is float32 whatever the elements are.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/config.h"

namespace par5::kernels {

// float32, or bfloat16 bits.
enum class Element { float32, bfloat16 };

// A row-major matrix; `data` may be null where a kernel says so.
struct Matrix {
  void* data = nullptr;
  Element element = Element::float32;
};

// The name of the instruction set that the kernels run on: "AVX3", "AVX2", ...
const char* instruction_set();

// normed = x · r with r = 1 / sqrt(mean(x²) + epsilon); `inverse` gets r of every row.
struct RmsNorm {
  std::size_t width = 0;
  float epsilon = 0;
  Matrix x, normed;
  float* inverse = nullptr;
  Matrix normed_gradient, x_gradient;  // backward only
};
void rms_norm(const RmsNorm& job, std::size_t begin, std::size_t end);
void rms_norm_backward(const RmsNorm& job, std::size_t begin, std::size_t end);

// The border between two blocks (model/operations.h): end = x + scale · branch, joined = end + skip_weight · skip,
// sum = mix[0] · joined + mix[1] · x0, normed = rms(sum). Null: branch (end = x, and `end` is not written), mix (sum =
// end, and `end` is not written), skip_weight (joined = end), skip (the skip is `end`). Backward reads `end`, whoever
// has it, and not x.
struct Border {
  std::size_t width = 0;
  float epsilon = 0;
  const float* x = nullptr;
  Matrix branch;
  const float* scale = nullptr;
  const float* x0 = nullptr;
  const float* mix = nullptr;
  const float* skip = nullptr;
  const float* skip_weight = nullptr;
  float* end = nullptr;
  float* sum = nullptr;
  Matrix normed;
  float* inverse = nullptr;
};
// Any incoming gradient may be null (zero). Gradients with respect to rows are written; those of scale, mix (2 · width)
// and skip_weight are added to. x0's begins with `later_x0`, what later borders have to say of it.
struct BorderGradients {
  const float* end = nullptr;
  const float* sum = nullptr;
  Matrix normed;
  const float* later_x0 = nullptr;
  float* x = nullptr;
  Matrix branch;
  float* x0 = nullptr;
  float* skip = nullptr;
  float* scale = nullptr;
  float* mix = nullptr;
  float* skip_weight = nullptr;
};
void border(const Border& job, std::size_t begin, std::size_t end);
void border_backward(const Border& job, const BorderGradients& gradients, std::size_t begin, std::size_t end);

// active = f(hidden)², f(h) = h > 0 ? h : slope · h, then an RMS-norm if `inverse` is not null. All matrices have the
// same element.
struct SquaredRelu {
  std::size_t width = 0;
  float epsilon = 0;
  float slope = 0;
  Matrix hidden, active;
  float* inverse = nullptr;
  Matrix active_gradient, hidden_gradient;  // backward only
};
void squared_relu(const SquaredRelu& job, std::size_t begin, std::size_t end);
void squared_relu_backward(const SquaredRelu& job, std::size_t begin, std::size_t end);

// How heads become queries and keys: RMS-norm per head, queries times their head's gain, rotation by halves.
struct HeadPreparation {
  float epsilon = 0;
  const float* gain = nullptr;                     // [heads]
  const float *cosine = nullptr, *sine = nullptr;  // [length, head_width / 2]
};

// The queries and keys alone. Rows are tokens; row n is position n mod length. qkv [rows, (heads + 2 · kv_heads) ·
// head_width]; rotated [rows, (heads + kv_heads) · head_width].
struct QueryKey {
  std::size_t length = 0, heads = 0, kv_heads = 0, head_width = 0;
  HeadPreparation preparation;
  Matrix qkv, rotated;
};
void query_key(const QueryKey& job, std::size_t begin, std::size_t end);

// Causal attention: query head h reads key/value head floor(h · kv_heads / heads). qkv [batch · length, (heads + 2 ·
// kv_heads) · head_width], mixed [batch · length, heads · head_width], of the same element. Queries and keys are
// prepared, or, where the preparation has no tables, taken as they are. A unit of work is a key/value head of a
// sequence with its query heads, number batch · kv_heads + head: its results depend on nothing else, so that they are
// the same for every number of threads.
struct CausalAttention {
  std::size_t length = 0, heads = 0, kv_heads = 0, head_width = 0;
  float scale = 1;
  HeadPreparation preparation;
  Matrix qkv, mixed;
  float* logsum = nullptr;   // [batch, heads, length]: of the scores in base 2, which backward takes
  float* inverse = nullptr;  // [batch · length, heads + kv_heads]: of the preparation's norms, which backward takes
  // Backward only.
  Matrix mixed_gradient, qkv_gradient;
  float* gain_gradient = nullptr;  // [heads], added to: an array of this thread
};
// Floats that a thread needs beside: of no content before or after.
std::size_t causal_attention_scratch(const CausalAttention& job);
void causal_attention(const CausalAttention& job, std::size_t begin, std::size_t end, float* scratch);
void causal_attention_backward(const CausalAttention& job, std::size_t begin, std::size_t end, float* scratch);

// Nesterov's momentum, for Muon: momentum = decay · momentum + gradient, direction = gradient + decay · momentum; then
// its RMS-norm where `norm` is set.
struct NesterovRows {
  std::size_t width = 0;
  float decay = 0;
  bool norm = false;
  float epsilon = 0;
  const float* gradient = nullptr;
  float* momentum = nullptr;
  float* direction = nullptr;
};
void nesterov_rows(const NesterovRows& job, std::size_t begin, std::size_t end);

// Rows of logits before bias and softcap: each row's logsumexp and target logit after them, and with `gradient` the
// loss's gradient in place of the logits: (softmax · (1 + 2 · z_loss · logsumexp) - target) · softcap'(z) · factor.
struct LogitLoss {
  std::size_t vocab = 0;
  Matrix logits;
  const float* bias = nullptr;     // or null
  const float* offsets = nullptr;  // added to the capped logits; or null
  float largest_offset = 0;
  const std::int64_t* targets = nullptr;
  Softcap softcap = Softcap::none;
  float softcap_value = 0;
  float temperature = 1;  // divides the capped logits; 1 where there is a gradient
  bool gradient = false;
  float z_loss = 0;
  float factor = 1;
  float* logsum = nullptr;           // [rows]
  float* target_logit = nullptr;     // [rows]
  float* target_gradient = nullptr;  // [rows], the target's part of the gradient, which then is not in it; or null
  float* bias_gradient = nullptr;    // [vocab], added to; or null
  float* scratch = nullptr;          // [vocab], of this thread
};
void logit_loss(const LogitLoss& job, std::size_t begin, std::size_t end);

}  // namespace par5::kernels
