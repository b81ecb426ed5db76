#include <cmath>

#include "model/fused.h"
#include "model/fused_support.h"

namespace par5::fused {
namespace {

kernels::HeadPreparation preparation_of(const torch::Tensor& gain, const torch::Tensor& cosine,
                                        const torch::Tensor& sine) {
  return {static_cast<float>(kRmsEpsilon), floats(gain), floats(cosine), floats(sine)};
}

// tensors: qkv, gain, cosine, sine, inverse, mixed, logsum; the second to fifth undefined where queries and keys are
// taken as they are.
kernels::CausalAttention attention_of(const tensor_list& tensors, const AttentionShape& shape) {
  kernels::CausalAttention job;
  job.length = size(shape.length);
  job.heads = size(shape.heads);
  job.kv_heads = size(shape.kv_heads);
  job.head_width = size(shape.head_width);
  job.scale = 1.0f / std::sqrt(static_cast<float>(shape.head_width));
  job.qkv = matrix(tensors[0]);
  job.preparation = preparation_of(tensors[1], tensors[2], tensors[3]);
  job.inverse = floats(tensors[4]);
  job.mixed = matrix(tensors[5]);
  job.logsum = floats(tensors[6]);
  return job;
}

void save_shape(AutogradContext* context, const AttentionShape& shape) {
  context->saved_data["shape"] =
      std::vector<std::int64_t>{shape.batch, shape.length, shape.heads, shape.kv_heads, shape.head_width};
}
AttentionShape saved_shape(AutogradContext* context) {
  const std::vector<std::int64_t> extents = context->saved_data["shape"].toIntVector();
  return {extents[0], extents[1], extents[2], extents[3], extents[4]};
}

// Calls kernel(job, begin, end, scratch) over all key/value heads of all sequences, shared among LibTorch's threads.
template <class Kernel>
void over_units(const kernels::CausalAttention& job, const AttentionShape& shape, Kernel&& kernel) {
  const auto scratch = static_cast<std::int64_t>(kernels::causal_attention_scratch(job));
  at::parallel_for(0, shape.batch * shape.kv_heads, 1, [&](std::int64_t begin, std::int64_t end) {
    const torch::Tensor mine = torch::empty({scratch});
    kernel(job, static_cast<std::size_t>(begin), static_cast<std::size_t>(end), floats(mine));
  });
}

class Attention : public torch::autograd::Function<Attention> {
 public:
  static torch::Tensor forward(AutogradContext* context, const torch::Tensor& qkv, const OptionalTensor& gain,
                               const OptionalTensor& cosine, const OptionalTensor& sine, const AttentionShape& shape) {
    const auto given = [](const OptionalTensor& tensor) { return tensor ? tensor->contiguous() : torch::Tensor(); };
    const std::int64_t rows = shape.batch * shape.length;
    const tensor_list saved{qkv.contiguous(),
                            given(gain),
                            given(cosine),
                            given(sine),
                            cosine ? torch::empty({rows, shape.heads + shape.kv_heads}) : torch::Tensor(),
                            torch::empty({rows, shape.heads * shape.head_width}, qkv.options()),
                            torch::empty({rows * shape.heads})};
    over_units(attention_of(saved, shape), shape, kernels::causal_attention);
    context->save_for_backward(saved);
    save_shape(context, shape);
    return saved[5];
  }

  static tensor_list backward(AutogradContext* context, const tensor_list& gradients) {
    const tensor_list saved = context->get_saved_variables();
    const AttentionShape shape = saved_shape(context);
    const torch::Tensor incoming = gradients[0].contiguous(), to_qkv = torch::empty_like(saved[0]);
    kernels::CausalAttention attention = attention_of(saved, shape);
    attention.mixed_gradient = matrix(incoming);
    attention.qkv_gradient = matrix(to_qkv);
    ThreadSums to_gain(shape.heads);
    over_units(attention, shape,
               [&](kernels::CausalAttention mine, std::size_t begin, std::size_t end, float* scratch) {
                 mine.gain_gradient = to_gain.mine();
                 kernels::causal_attention_backward(mine, begin, end, scratch);
               });
    return {to_qkv, saved[1].defined() ? to_gain.total() : torch::Tensor(), torch::Tensor(), torch::Tensor(),
            torch::Tensor()};
  }
};

}  // namespace

torch::Tensor rotated_heads(const torch::Tensor& rows, const torch::Tensor& gain, const RopeTable& rope,
                            const AttentionShape& shape) {
  const torch::Tensor from = rows.contiguous(), gains = gain.defined() ? gain.contiguous() : gain,
                      cosine = rope.cosine.contiguous(), sine = rope.sine.contiguous(),
                      out = torch::empty({rows.size(0), (shape.heads + shape.kv_heads) * shape.head_width},
                                         rows.options());
  const kernels::QueryKey job{size(shape.length),
                              size(shape.heads),
                              size(shape.kv_heads),
                              size(shape.head_width),
                              preparation_of(gains, cosine, sine),
                              matrix(from),
                              matrix(out)};
  over_rows(rows.size(0), rows.size(1),
            [&](std::size_t begin, std::size_t end) { kernels::query_key(job, begin, end); });
  return out;
}

torch::Tensor gained_attention(const torch::Tensor& qkv, const torch::Tensor& gain, const RopeTable& rope,
                               const AttentionShape& shape) {
  return Attention::apply(qkv, gain, rope.cosine, rope.sine, shape);
}

torch::Tensor plain_attention(const torch::Tensor& qkv, const AttentionShape& shape) {
  return Attention::apply(qkv, OptionalTensor(), OptionalTensor(), OptionalTensor(), shape);
}

}  // namespace par5::fused
