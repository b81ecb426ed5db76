#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>

#include "model/fused.h"
#include "model/fused_support.h"

namespace par5::fused {
namespace {

// The operands of LibTorch's flash attention, [batch, heads, length, head_width], as views.
struct Operands {
  torch::Tensor query, key, value;
};

Operands operands_of(const torch::Tensor& rotated, const torch::Tensor& qkv, const AttentionShape& shape) {
  const auto heads_of = [&](const torch::Tensor& x) {
    return x.view({shape.batch, shape.length, -1, shape.head_width}).transpose(1, 2);
  };
  const torch::Tensor both = heads_of(rotated), all = heads_of(qkv);
  return {both.narrow(1, 0, shape.heads), both.narrow(1, shape.heads, shape.kv_heads),
          all.narrow(1, shape.heads + shape.kv_heads, shape.kv_heads)};
}

kernels::HeadGradient head_gradient(const torch::Tensor& x) {
  return {x.data_ptr(), static_cast<std::size_t>(x.stride(0)), static_cast<std::size_t>(x.stride(2)),
          static_cast<std::size_t>(x.stride(1))};
}

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

class Attention : public torch::autograd::Function<Attention> {
 public:
  static torch::Tensor forward(AutogradContext* context, const torch::Tensor& qkv_input, const torch::Tensor& gain,
                               const torch::Tensor& cosine, const torch::Tensor& sine, const AttentionShape& shape) {
    const torch::Tensor qkv = qkv_input.contiguous();
    const std::int64_t rows = shape.batch * shape.length, rotated_heads = shape.heads + shape.kv_heads;
    const torch::Tensor rotated = torch::empty({rows, rotated_heads * shape.head_width}, qkv.options());
    const torch::Tensor inverse = torch::empty({rows, rotated_heads});
    const tensor_list saved{qkv, rotated, inverse, gain.contiguous(), cosine.contiguous(), sine.contiguous()};
    const kernels::QueryKey job = job_of(saved, shape);
    over_rows(rows, qkv.size(1), [&](std::size_t begin, std::size_t end) { kernels::query_key(job, begin, end); });
    const Operands operands = operands_of(rotated, qkv, shape);
    const auto [mixed, logsum] = at::_scaled_dot_product_flash_attention_for_cpu(
        operands.query, operands.key, operands.value, 0.0, /*is_causal=*/true);
    tensor_list all = saved;
    all.push_back(mixed);
    all.push_back(logsum);
    context->save_for_backward(all);
    context->saved_data["shape"] =
        std::vector<std::int64_t>{shape.batch, shape.length, shape.heads, shape.kv_heads, shape.head_width};
    return mixed.transpose(1, 2).reshape({rows, shape.heads * shape.head_width});
  }

  static tensor_list backward(AutogradContext* context, const tensor_list& gradients) {
    const tensor_list saved = context->get_saved_variables();
    const std::vector<std::int64_t> extents = context->saved_data["shape"].toIntVector();
    const AttentionShape shape{extents[0], extents[1], extents[2], extents[3], extents[4]};
    const torch::Tensor& qkv = saved[0];
    const Operands operands = operands_of(saved[1], qkv, shape);
    const torch::Tensor incoming =
        gradients[0].contiguous().view({shape.batch, shape.length, shape.heads, shape.head_width}).transpose(1, 2);
    const auto [query, key, value] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
        incoming, operands.query, operands.key, operands.value, saved[6], saved[7], 0.0, /*is_causal=*/true);
    const torch::Tensor to_qkv = torch::empty_like(qkv);
    const kernels::QueryKey job = job_of(saved, shape);
    ThreadSums to_gain(shape.heads);
    over_rows(qkv.size(0), qkv.size(1), [&](std::size_t begin, std::size_t end) {
      const kernels::QueryKeyGradients job_gradients{head_gradient(query), head_gradient(key), head_gradient(value),
                                                     to_qkv.data_ptr(), to_gain.mine()};
      kernels::query_key_backward(job, job_gradients, begin, end);
    });
    return {to_qkv, to_gain.total(), torch::Tensor(), torch::Tensor(), torch::Tensor()};
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
  over_rows(rows.size(0), rows.size(1), [&](std::size_t begin, std::size_t end) { kernels::query_key(job, begin, end); });
  return tensors[1];
}

torch::Tensor gained_attention(const torch::Tensor& qkv, const torch::Tensor& gain, const RopeTable& rope,
                               const AttentionShape& shape) {
  return Attention::apply(qkv, gain, rope.cosine, rope.sine, shape);
}

}  // namespace par5::fused
