#include "model/integer_linear.h"

#include <limits>

#include "model/fused_support.h"
#include "pack/quantizer.h"

namespace par5 {
namespace {

std::size_t size(std::int64_t value) { return static_cast<std::size_t>(value); }

torch::Tensor memory_for(const kernels::PackedPanels& panels) {
  return torch::empty({static_cast<std::int64_t>(panels.bytes())}, torch::kUInt8);
}

// work(begin, end) over all panels, shared among LibTorch's threads.
template <class Work>
void over_panels(const kernels::PackedPanels& panels, Work&& work) {
  at::parallel_for(0, static_cast<std::int64_t>(panels.panels()), 1,
                   [&](std::int64_t begin, std::int64_t end) { work(size(begin), size(end)); });
}

// Rounds rows [rows, inner.size], times factors where not null, and multiplies them: into columns of `out` from `to`
// on.
void multiply(const torch::Tensor& rows, const float* factors, const IntegerRowBuffer& buffer,
              const kernels::PackedPanels& panels, float* to, std::int64_t stride) {
  const float* const from = rows.const_data_ptr<float>();
  fused::over_rows(rows.size(0), rows.size(1), [&](std::size_t begin, std::size_t end) {
    kernels::quantize_rows(from, factors, buffer.rows(), begin, end);
    kernels::integer_product(buffer.rows(), panels, to, size(stride), begin, end);
  });
}

}  // namespace

IntegerRowBuffer::IntegerRowBuffer(std::int64_t rows, const kernels::InnerGroups& inner, bool interleaved)
    : codes_(torch::empty({rows, static_cast<std::int64_t>(inner.padded())}, torch::kInt8)),
      scales_(torch::empty({rows})),
      sums_(torch::empty({rows, static_cast<std::int64_t>(inner.count())}, torch::kInt32)),
      rows_{inner, codes_.data_ptr<std::int8_t>(), scales_.data_ptr<float>(), sums_.data_ptr<std::int32_t>(),
            interleaved} {}

IntegerProducts integer_products(const QuantizerConfig& quantizer) {
  const int levels = max_code(quantizer.grid);
  const bool grouped = quantizer.granularity == Granularity::group;
  return {grouped ? quantizer.group : std::numeric_limits<std::int64_t>::max(), 127 / levels * levels};
}

IntegerWeight::IntegerWeight(const torch::Tensor& matrix, const IntegerProducts& products)
    : outputs_(matrix.size(0)), inputs_(matrix.size(1)), products_(products) {
  products_.group = std::min(products.group, inputs_);
  const std::int64_t groups = (inputs_ + products_.group - 1) / products_.group;
  codes_ = torch::empty({outputs_, inputs_}, torch::kInt8);
  scales_ = torch::empty({groups, outputs_});
  const torch::Tensor values = matrix.contiguous();
  const float* const from = values.const_data_ptr<float>();
  const kernels::IntegerMatrix integers = this->integers();
  fused::over_rows(outputs_, inputs_,
                   [&](std::size_t begin, std::size_t end) { kernels::quantize_matrix(from, integers, begin, end); });
  panels_ = memory_for(panels());
  over_panels(panels(),
              [&](std::size_t begin, std::size_t end) { kernels::pack_outputs(integers, panels(), begin, end); });
}

kernels::IntegerMatrix IntegerWeight::integers() const {
  return {size(outputs_),
          {size(inputs_), size(products_.group)},
          products_.steps,
          codes_.data_ptr<std::int8_t>(),
          scales_.data_ptr<float>()};
}

kernels::PackedPanels IntegerWeight::panels() const {
  const kernels::IntegerMatrix integers = this->integers();
  return {integers.inputs, integers.outputs, panels_.defined() ? panels_.data_ptr<std::uint8_t>() : nullptr,
          integers.scales};
}

torch::Tensor IntegerWeight::product(const torch::Tensor& rows, IntegerRowBuffer* rounded) const {
  const torch::Tensor from = rows.contiguous(), out = torch::empty({rows.size(0), outputs_});
  const IntegerRowBuffer buffer(rows.size(0), integers().inputs);
  multiply(from, nullptr, buffer, panels(), out.data_ptr<float>(), outputs_);
  if (rounded) *rounded = buffer;
  return out;
}

torch::Tensor IntegerWeight::transposed_product(const torch::Tensor& gradient) const {
  const kernels::IntegerMatrix integers = this->integers();
  const kernels::InnerGroups inner{integers.outputs, integers.outputs};
  const IntegerRowBuffer buffer(gradient.size(0), inner);
  const torch::Tensor from = gradient.contiguous(), out = torch::empty({gradient.size(0), inputs_});
  // A group's scales are the outputs', so they go into the gradient before it is rounded.
  for (std::size_t group = 0; group < integers.inputs.count(); ++group) {
    const std::size_t first = group * integers.inputs.group;
    kernels::PackedPanels panels{inner, std::min(integers.inputs.group, integers.inputs.size - first), nullptr,
                                 nullptr};
    const torch::Tensor memory = memory_for(panels);
    panels.codes = memory.data_ptr<std::uint8_t>();
    over_panels(panels,
                [&](std::size_t begin, std::size_t end) { kernels::pack_inputs(integers, group, panels, begin, end); });
    multiply(from, integers.scales + group * integers.outputs, buffer, panels, out.data_ptr<float>() + first, inputs_);
  }
  return out;
}

namespace {

// Of rows [n, inputs] as they were rounded for the product, and gradient [n, outputs]: gradientᵀ · rows [outputs,
// inputs]. The rows' scales go into the gradient, which, differing much between tokens, is rounded by a scale for each
// of its columns in every group of tokens.
torch::Tensor outer_product(const kernels::IntegerRows& rows, const torch::Tensor& gradient) {
  constexpr std::size_t kTokensOfAScale = 128;
  constexpr std::size_t kBlock = kernels::IntegerRows::kBlock;
  const std::size_t inputs = rows.inner.size, blocks = (inputs + kBlock - 1) / kBlock;
  const std::int64_t outputs = gradient.size(1);
  const kernels::InnerGroups inner{size(gradient.size(0)), kTokensOfAScale};
  const IntegerRowBuffer buffer(static_cast<std::int64_t>(blocks * kBlock), inner, true);
  kernels::IntegerRows columns = buffer.rows();
  columns.scales = nullptr;
  const torch::Tensor scales = torch::empty({static_cast<std::int64_t>(inner.count()), outputs});
  kernels::PackedPanels panels{inner, size(outputs), nullptr, scales.data_ptr<float>()};
  const torch::Tensor memory = memory_for(panels);
  panels.codes = memory.data_ptr<std::uint8_t>();
  const torch::Tensor out = torch::empty({static_cast<std::int64_t>(inputs), outputs});
  const float* const values = gradient.const_data_ptr<float>();
  at::parallel_for(0, static_cast<std::int64_t>(panels.panels() * inner.count()), 1,
                   [&](std::int64_t begin, std::int64_t end) {
                     kernels::quantize_panels(values, rows.scales, panels, size(begin), size(end));
                   });
  at::parallel_for(0, static_cast<std::int64_t>(blocks), 1, [&](std::int64_t begin, std::int64_t end) {
    kernels::interleave_columns(rows, columns, size(begin), size(end));
    kernels::integer_product(columns, panels, out.data_ptr<float>(), size(outputs), size(begin) * kBlock,
                             std::min(size(end) * kBlock, inputs));
  });
  return out.t();
}

class IntegerLinear : public torch::autograd::Function<IntegerLinear> {
 public:
  static torch::Tensor forward(fused::AutogradContext* context, const torch::Tensor& rows, const torch::Tensor& weight,
                               const IntegerProducts& products) {
    const auto integers = c10::make_intrusive<Holder>(weight, products);
    context->saved_data["integers"] = c10::IValue::make_capsule(integers);
    return integers->weight.product(rows, &integers->rows);
  }

  static fused::tensor_list backward(fused::AutogradContext* context, const fused::tensor_list& gradients) {
    const auto integers = c10::static_intrusive_pointer_cast<Holder>(context->saved_data["integers"].toCapsule());
    const torch::Tensor gradient = gradients[0].contiguous();
    torch::Tensor to_rows, to_weight;
    if (context->needs_input_grad(0)) to_rows = integers->weight.transposed_product(gradient);
    if (context->needs_input_grad(1)) to_weight = outer_product(integers->rows.rows(), gradient);
    return {to_rows, to_weight, torch::Tensor()};
  }

 private:
  struct Holder : torch::CustomClassHolder {
    Holder(const torch::Tensor& matrix, const IntegerProducts& products) : weight(matrix, products) {}
    IntegerWeight weight;
    IntegerRowBuffer rows;
  };
};

}  // namespace

torch::Tensor integer_linear(const torch::Tensor& rows, const torch::Tensor& weight, const IntegerProducts& products) {
  // Longer sums of 255 · 127 could leave 32 bits.
  constexpr std::int64_t kLongestSum = 65536;
  if (weight.size(0) > kLongestSum || weight.size(1) > kLongestSum) return at::linear(rows, weight);
  return IntegerLinear::apply(rows, weight, products);
}

}  // namespace par5
