#include <cmath>

#include "model/fused.h"
#include "model/fused_support.h"

namespace par5::fused {
namespace {

// tensors: qkv, rotated, inverse, gain, cosine, sine.
kernels::QueryKey job_of(const tensor_list& tensors, const AttentionShape& shape) {
  kernels::QueryKey job;
  job.length = static_cast<std::size_t>(shape.length);
  job.heads = static_cast<std::size_t>(shape.heads);
  job.kv_heads = static_cast<std::size_t>(shape.kv_heads);
  job.head_width = static_cast<std::size_t>(shape.head_width);
  job.epsilon = static_cast<float>(kRmsEpsilon);
  job.qkv = matrix(tensors[0]);
  job.rotated = matrix(tensors[1]);
  job.inverse = floats(tensors[2]);
  job.gain = floats(tensors[3]);
  job.cosine = floats(tensors[4]);
  job.sine = floats(tensors[5]);
  return job;
}

kernels::CausalAttention attention_of(const torch::Tensor& qkv, const torch::Tensor& rotated,
                                      const torch::Tensor& mixed, const torch::Tensor& logsum,
                                      const AttentionShape& shape) {
  kernels::CausalAttention job;
  job.length = static_cast<std::size_t>(shape.length);
  job.heads = static_cast<std::size_t>(shape.heads);
  job.kv_heads = static_cast<std::size_t>(shape.kv_heads);
  job.head_width = static_cast<std::size_t>(shape.head_width);
  job.scale = 1.0f / std::sqrt(static_cast<float>(shape.head_width));
  job.qkv = matrix(qkv);
  job.rotated = matrix(rotated);
  job.mixed = matrix(mixed);
  job.logsum = floats(logsum);
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
  static torch::Tensor forward(AutogradContext* context, const torch::Tensor& qkv_input, const torch::Tensor& gain,
                               const torch::Tensor& cosine, const torch::Tensor& sine, const AttentionShape& shape) {
    const torch::Tensor qkv = qkv_input.contiguous();
    const std::int64_t rows = shape.batch * shape.length, rotated_heads = shape.heads + shape.kv_heads;
    const torch::Tensor rotated = torch::empty({rows, rotated_heads * shape.head_width}, qkv.options());
    const torch::Tensor inverse = torch::empty({rows, rotated_heads});
    const torch::Tensor mixed = torch::empty({rows, shape.heads * shape.head_width}, qkv.options());
    const torch::Tensor logsum = torch::empty({rows * shape.heads});
    const tensor_list saved{qkv,   rotated, inverse, gain.contiguous(), cosine.contiguous(), sine.contiguous(),
                            mixed, logsum};
    const kernels::QueryKey query_key = job_of(saved, shape);
    over_rows(rows, qkv.size(1),
              [&](std::size_t begin, std::size_t end) { kernels::query_key(query_key, begin, end); });
    over_units(attention_of(qkv, rotated, mixed, logsum, shape), shape, kernels::causal_attention);
    context->save_for_backward(saved);
    save_shape(context, shape);
    return mixed;
  }

  static tensor_list backward(AutogradContext* context, const tensor_list& gradients) {
    const tensor_list saved = context->get_saved_variables();
    const AttentionShape shape = saved_shape(context);
    const torch::Tensor incoming = gradients[0].contiguous(), to_qkv = torch::empty_like(saved[0]);
    kernels::CausalAttention attention = attention_of(saved[0], saved[1], saved[6], saved[7], shape);
    attention.mixed_gradient = matrix(incoming);
    attention.qkv_gradient = matrix(to_qkv);
    over_units(attention, shape, kernels::causal_attention_backward);
    const kernels::QueryKey query_key = job_of(saved, shape);
    ThreadSums to_gain(shape.heads);
    over_rows(to_qkv.size(0), to_qkv.size(1), [&](std::size_t begin, std::size_t end) {
      kernels::query_key_backward(query_key, {to_qkv.data_ptr(), to_gain.mine()}, begin, end);
    });
    return {to_qkv, to_gain.total(), torch::Tensor(), torch::Tensor(), torch::Tensor()};
  }
};

// Attention on queries and keys as they are.
class PlainAttention : public torch::autograd::Function<PlainAttention> {
 public:
  static torch::Tensor forward(AutogradContext* context, const torch::Tensor& qkv_input, const AttentionShape& shape) {
    const std::int64_t rows = shape.batch * shape.length;
    const torch::Tensor qkv = qkv_input.contiguous();
    const torch::Tensor mixed = torch::empty({rows, shape.heads * shape.head_width}, qkv.options());
    const torch::Tensor logsum = torch::empty({rows * shape.heads});
    over_units(attention_of(qkv, {}, mixed, logsum, shape), shape, kernels::causal_attention);
    context->save_for_backward({qkv, mixed, logsum});
    save_shape(context, shape);
    return mixed;
  }

  static tensor_list backward(AutogradContext* context, const tensor_list& gradients) {
    const tensor_list saved = context->get_saved_variables();
    const AttentionShape shape = saved_shape(context);
    const torch::Tensor incoming = gradients[0].contiguous(), to_qkv = torch::empty_like(saved[0]);
    kernels::CausalAttention attention = attention_of(saved[0], {}, saved[1], saved[2], shape);
    attention.mixed_gradient = matrix(incoming);
    attention.qkv_gradient = matrix(to_qkv);
    over_units(attention, shape, kernels::causal_attention_backward);
    return {to_qkv, torch::Tensor()};
  }
};

}  // namespace

torch::Tensor rotated_heads(const torch::Tensor& rows, const torch::Tensor& gain, const RopeTable& rope,
                            const AttentionShape& shape) {
  const std::int64_t heads = shape.heads + shape.kv_heads;
  const tensor_list tensors{rows.contiguous(),
                            torch::empty({rows.size(0), heads * shape.head_width}, rows.options()),
                            torch::empty({rows.size(0), heads}),
                            gain.defined() ? gain.contiguous() : gain,
                            rope.cosine.contiguous(),
                            rope.sine.contiguous()};
  const kernels::QueryKey job = job_of(tensors, shape);
  over_rows(rows.size(0), rows.size(1),
            [&](std::size_t begin, std::size_t end) { kernels::query_key(job, begin, end); });
  return tensors[1];
}

torch::Tensor gained_attention(const torch::Tensor& qkv, const torch::Tensor& gain, const RopeTable& rope,
                               const AttentionShape& shape) {
  return Attention::apply(qkv, gain, rope.cosine, rope.sine, shape);
}

torch::Tensor plain_attention(const torch::Tensor& qkv, const AttentionShape& shape) {
  return PlainAttention::apply(qkv, shape);
}

}  // namespace par5::fused
