#include "model/integer_linear.h"

#include <limits>
#include <optional>

#include "model/fused_support.h"
#include "model/word_transpose.h"
#include "pack/quantizer.h"

namespace par5 {
namespace {

using fused::size;

torch::Tensor memory_for(std::size_t bytes) { return torch::empty({static_cast<std::int64_t>(bytes)}, torch::kUInt8); }

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

bool fits_integer_products(const torch::Tensor& matrix) {
  constexpr std::int64_t kLongestSum = 65536;
  return matrix.size(0) <= kLongestSum && matrix.size(1) <= kLongestSum;
}

IntegerWeight::IntegerWeight(const torch::Tensor& matrix, const IntegerProducts& products)
    : codes_(torch::empty(matrix.sizes(), torch::kInt8)) {
  const std::int64_t outputs = matrix.size(0), inputs = matrix.size(1);
  const kernels::InnerGroups inner{size(inputs), size(std::min(products.group, inputs))};
  scales_ = torch::empty({static_cast<std::int64_t>(inner.count()), outputs});
  integers_ = {size(outputs), inner, products.steps, codes_.data_ptr<std::int8_t>(), scales_.data_ptr<float>()};
  panels_ = {inner, size(outputs), nullptr, integers_.scales};
  memory_ = memory_for(panels_.bytes());
  panels_.codes = memory_.data_ptr<std::uint8_t>();
  const torch::Tensor values = matrix.contiguous();
  const float* const from = values.const_data_ptr<float>();
  at::parallel_for(0, static_cast<std::int64_t>(panels_.panels()), 1, [&](std::int64_t begin, std::int64_t end) {
    const std::size_t last = std::min(size(end) * kernels::kPanelColumns, size(outputs));
    kernels::quantize_matrix(from, integers_, size(begin) * kernels::kPanelColumns, last);
    kernels::pack_outputs(integers_, panels_, size(begin), size(end));
  });
}

void IntegerWeight::multiply(const float* x, std::size_t count, const kernels::IntegerRows& rounded, float* out) const {
  kernels::quantize_rows(x, nullptr, rounded, 0, count);
  kernels::integer_product(rounded, panels_, out, integers_.outputs, 0, count);
}

torch::Tensor IntegerWeight::product(const torch::Tensor& rows, IntegerRowBuffer* rounded) const {
  const torch::Tensor from = rows.contiguous(), out = torch::empty({rows.size(0), outputs()});
  const IntegerRowBuffer buffer(rows.size(0), inner());
  over_token_blocks(rows.size(0), [&](std::size_t, std::size_t first, std::size_t count) {
    multiply(from.const_data_ptr<float>() + first * inner().size, count, buffer.rows().from(first),
             out.data_ptr<float>() + first * integers_.outputs);
  });
  if (rounded) *rounded = buffer;
  return out;
}

IntegerWeight::Transpose::Transpose(const IntegerWeight& weight)
    : integers_(weight.integers_), inner_{integers_.outputs, integers_.outputs} {
  const kernels::InnerGroups& inputs = integers_.inputs;
  std::size_t bytes = 0;
  for (std::size_t group = 0; group < inputs.count(); ++group) {
    groups_.push_back({inner_, inputs.values(group), nullptr, nullptr});
    bytes += groups_.back().bytes();
  }
  memory_ = memory_for(bytes);
  std::uint8_t* place = memory_.data_ptr<std::uint8_t>();
  for (kernels::PackedPanels& panels : groups_) {
    panels.codes = place;
    place += panels.bytes();
  }
  const std::size_t most = groups_[0].panels();
  at::parallel_for(0, static_cast<std::int64_t>(groups_.size() * most), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::size_t unit = size(begin); unit < size(end); ++unit)
      if (const kernels::PackedPanels& panels = groups_[unit / most]; unit % most < panels.panels())
        kernels::pack_inputs(integers_, unit / most, panels, unit % most);
  });
}

void IntegerWeight::Transpose::multiply(const float* gradient, std::size_t count, float* out) const {
  const IntegerRowBuffer room(static_cast<std::int64_t>(count), inner_);
  // A group's scales are the outputs', so they go into the gradient before it is rounded.
  for (std::size_t group = 0; group < groups_.size(); ++group) {
    kernels::quantize_rows(gradient, integers_.scales + group * integers_.outputs, room.rows(), 0, count);
    kernels::integer_product(room.rows(), groups_[group], out + integers_.inputs.first(group), integers_.inputs.size, 0,
                             count);
  }
}

void IntegerWeight::Transpose::multiply(const kernels::IntegerRows& rounded, std::size_t count, float* out) const {
  TORCH_INTERNAL_ASSERT(groups_.size() == 1);
  kernels::integer_product(rounded, groups_[0], out, integers_.inputs.size, 0, count);
}

IntegerOuterProduct::IntegerOuterProduct(const kernels::IntegerRows& rows, std::size_t count, std::int64_t outputs)
    : rows_(rows), panels_{{count, kTokenBlock}, size(outputs), nullptr, nullptr} {
  codes_ = memory_for(panels_.bytes());
  scales_ = torch::empty({static_cast<std::int64_t>(panels_.inner.count()), outputs});
  panels_.codes = codes_.data_ptr<std::uint8_t>();
  panels_.scales = scales_.data_ptr<float>();
}

void IntegerOuterProduct::add(const float* gradient, std::size_t block) const {
  kernels::quantize_panels(gradient, rows_.scales + panels_.inner.first(block), panels_, block);
}

void IntegerOuterProduct::add_dithered(const float* gradient, std::size_t block, std::size_t dither) const {
  kernels::quantize_panels_dithered(gradient, rows_.scales + panels_.inner.first(block), panels_, block, dither);
}

torch::Tensor IntegerOuterProduct::result() const {
  // So many columns of the rows are done at once: many use a panel while it is in the caches, and theirs must fit too.
  constexpr std::size_t kBlock = kernels::IntegerRows::kBlock, kStrip = 6 * kBlock;
  const std::size_t inputs = rows_.inner.size, outputs = panels_.columns;
  const auto blocks = static_cast<std::int64_t>((inputs + kBlock - 1) / kBlock);
  const torch::Tensor out = torch::empty({static_cast<std::int64_t>(outputs), static_cast<std::int64_t>(inputs)});
  at::parallel_for(0, blocks, 1, [&](std::int64_t begin, std::int64_t end) {
    const IntegerRowBuffer buffer(kStrip, panels_.inner, true);
    kernels::IntegerRows columns = buffer.rows();
    columns.scales = nullptr;
    const torch::Tensor room = torch::empty({static_cast<std::int64_t>(kStrip * outputs)});
    const std::size_t last = std::min(size(end) * kBlock, inputs);
    for (std::size_t first = size(begin) * kBlock, count; first < last; first += count) {
      count = std::min(kStrip, last - first);
      kernels::interleave_columns(rows_, first, count, columns);
      kernels::integer_product(columns, panels_, room.data_ptr<float>(), outputs, 0, count);
      kernels::transpose_words(room.const_data_ptr<float>(), outputs, count, outputs, out.data_ptr<float>() + first,
                               inputs);
    }
  });
  return out;
}

namespace {

class IntegerLinear : public torch::autograd::Function<IntegerLinear> {
 public:
  static torch::Tensor forward(fused::AutogradContext* context, const torch::Tensor& rows, const torch::Tensor& weight,
                               const IntegerProducts& products) {
    const auto saved = c10::make_intrusive<Saved>(weight, products);
    context->saved_data["saved"] = c10::IValue::make_capsule(saved);
    return saved->weight.product(rows, &saved->rows);
  }

  static fused::tensor_list backward(fused::AutogradContext* context, const fused::tensor_list& gradients) {
    const auto saved = c10::static_intrusive_pointer_cast<Saved>(context->saved_data["saved"].toCapsule());
    const torch::Tensor gradient = gradients[0].contiguous();
    const bool for_rows = context->needs_input_grad(0), for_weight = context->needs_input_grad(1);
    const std::int64_t count = gradient.size(0), inputs = static_cast<std::int64_t>(saved->weight.inner().size);
    std::optional<IntegerWeight::Transpose> transpose;
    std::optional<IntegerOuterProduct> outer;
    torch::Tensor to_rows;
    if (for_rows) {
      transpose.emplace(saved->weight);
      to_rows = torch::empty({count, inputs});
    }
    if (for_weight) outer.emplace(saved->rows.rows(), size(count), gradient.size(1));
    over_token_blocks(count, [&](std::size_t block, std::size_t first, std::size_t rows) {
      const float* const from = gradient.const_data_ptr<float>() + first * size(gradient.size(1));
      if (for_weight) outer->add(from, block);
      if (for_rows) transpose->multiply(from, rows, to_rows.data_ptr<float>() + first * size(inputs));
    });
    return {to_rows, for_weight ? outer->result() : torch::Tensor(), torch::Tensor()};
  }

 private:
  struct Saved : torch::CustomClassHolder {
    Saved(const torch::Tensor& matrix, const IntegerProducts& products) : weight(matrix, products) {}
    IntegerWeight weight;
    IntegerRowBuffer rows;
  };
};

}  // namespace

torch::Tensor integer_linear(const torch::Tensor& rows, const torch::Tensor& weight, const IntegerProducts& products) {
  return fits_integer_products(weight) ? IntegerLinear::apply(rows, weight, products) : at::linear(rows, weight);
}

}  // namespace par5
