#include "model/frozen.h"

#include <ATen/Config.h>
#include <ATen/Context.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <optional>

namespace par5 {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

// LibTorch's own operations on weights packed by MKL; only builds with MKL have them.
struct PackedProducts {
  c10::TypedOperatorHandle<at::Tensor(const at::Tensor& weight, std::int64_t rows)> pack;
  c10::TypedOperatorHandle<at::Tensor(const at::Tensor& rows, const at::Tensor& packed, const at::Tensor& weight,
                                      const std::optional<at::Tensor>& bias, std::int64_t packed_rows)>
      linear;
};

const std::optional<PackedProducts>& packed_products() {
  static const std::optional<PackedProducts> products = []() -> std::optional<PackedProducts> {
    const auto pack = c10::Dispatcher::singleton().findSchema({"mkl::_mkl_reorder_linear_weight", ""});
    const auto linear = c10::Dispatcher::singleton().findSchema({"mkl::_mkl_linear", ""});
    if (!at::hasMKL() || !pack || !linear) return std::nullopt;
    return PackedProducts{pack->typed<at::Tensor(const at::Tensor&, std::int64_t)>(),
                          linear->typed<at::Tensor(const at::Tensor&, const at::Tensor&, const at::Tensor&,
                                                   const std::optional<at::Tensor>&, std::int64_t)>()};
  }();
  return products;
}

torch::Tensor packed_linear(const torch::Tensor& rows, const torch::Tensor& packed, const torch::Tensor& weight,
                            std::int64_t packed_rows) {
  // With another number of rows the operation is at::linear, which takes a transposed weight too.
  return packed_products()->linear.call(rows.contiguous(), packed, weight, std::nullopt, packed_rows);
}

class FrozenLinear : public torch::autograd::Function<FrozenLinear> {
 public:
  static torch::Tensor forward(AutogradContext* context, const torch::Tensor& rows, const torch::Tensor& weight,
                               const torch::Tensor& packed, const torch::Tensor& packed_backward,
                               std::int64_t packed_rows) {
    context->save_for_backward({weight, packed_backward});
    context->saved_data["rows"] = packed_rows;
    return packed_linear(rows, packed, weight, packed_rows);
  }

  static tensor_list backward(AutogradContext* context, const tensor_list& gradients) {
    const tensor_list saved = context->get_saved_variables();
    const torch::Tensor to_rows =
        packed_linear(gradients[0], saved[1], saved[0].t(), context->saved_data["rows"].toInt());
    return {to_rows, torch::Tensor(), torch::Tensor(), torch::Tensor(), torch::Tensor()};
  }
};

}  // namespace

void FrozenWeights::add(const torch::Tensor& weight) {
  if (weight.is_cpu() && weight.scalar_type() == torch::kFloat32 && weight.dim() == 2 && weight.is_contiguous() &&
      packed_products())
    weights_.try_emplace(weight.const_data_ptr());
}

bool FrozenWeights::has(const torch::Tensor& weight) const { return weights_.count(weight.const_data_ptr()) > 0; }

FrozenWeights::Packed& FrozenWeights::packed(const torch::Tensor& weight, std::int64_t rows, bool differentiable) {
  Packed& packed = weights_.at(weight.const_data_ptr());
  if (packed.rows == 0) packed.rows = rows;
  const auto pack = [&](const torch::Tensor& matrix) { return packed_products()->pack.call(matrix, packed.rows); };
  const torch::NoGradGuard no_gradients;
  if (!packed.forward.defined()) packed.forward = pack(weight);
  if (differentiable && !packed.backward.defined()) packed.backward = pack(weight.t().contiguous());
  return packed;
}

torch::Tensor FrozenWeights::linear(const torch::Tensor& rows, const torch::Tensor& weight) {
  const Packed& made = packed(weight, rows.size(0), true);
  return FrozenLinear::apply(rows, weight, made.forward, made.backward, made.rows);
}

torch::Tensor FrozenWeights::product(const torch::Tensor& rows, const torch::Tensor& weight) {
  const Packed& made = packed(weight, rows.size(0), false);
  return packed_linear(rows, made.forward, weight, made.rows);
}

}  // namespace par5
