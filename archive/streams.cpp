#include "archive/streams.h"

#include <algorithm>

namespace par5 {
namespace {

constexpr std::size_t kDeltaHead = 4;  // anchor and step before the deltas, fp16 each

bool has_sign_planes(Grid grid) { return grid == Grid::ternary || grid == Grid::quinary || grid == Grid::septenary; }
bool is_planes(Layout layout) { return layout == Layout::planes || layout == Layout::planes_t; }
bool stores_deltas(const QuantizerConfig& quantizer) { return quantizer.scale_bits < 16; }

std::uint64_t count_of(const StreamSlot& slot) { return static_cast<std::uint64_t>(element_count(slot.shape)); }

Shape scale_shape(const TensorSpec& spec, const QuantizerConfig& quantizer) {
  const std::int64_t count = scale_count(spec.shape, quantizer);
  const std::int64_t rows = quantizer.granularity == Granularity::tensor ? 1 : spec.shape[0];
  return {rows, rows > 0 ? count / rows : 0};
}

template <class T>
std::span<T> rows_of(std::vector<T>& values, const StreamSlot& slot) {
  return std::span(values).subspan(static_cast<std::size_t>(slot.first_row * slot.shape[1]),
                                   static_cast<std::size_t>(count_of(slot)));
}

}  // namespace

std::string_view part_name(Part part) {
  switch (part) {
    case Part::tokenizer:
      return "tokenizer";
    case Part::self_test:
      return "self-test";
    case Part::codes:
      return "codes";
    case Part::scales:
      return "scales";
    case Part::values:
      return "values";
  }
  return "unknown";
}

std::vector<StreamSlot> stream_slots(const ModelConfig& model, const QuantizerConfig& quantizer,
                                     const std::vector<TensorSpec>& specs, bool tokenizer, bool self_test) {
  std::vector<StreamSlot> slots;
  if (tokenizer) slots.push_back({Part::tokenizer, 0, {}, 0, "tokenizer", "tokenizer"});
  if (self_test) slots.push_back({Part::self_test, 0, {}, 0, "self-test", "self-test"});
  for (const Part part : {Part::codes, Part::scales, Part::values}) {
    for (std::size_t i = 0; i < specs.size(); ++i) {
      const TensorSpec& spec = specs[i];
      if ((spec.storage == Storage::quantized) == (part == Part::values)) continue;
      const std::string kind(part_name(part));
      const std::string of = kind + " of '";
      if (part == Part::values) slots.push_back({part, i, spec.shape, 0, of + spec.name + "'", kind});
      if (part == Part::scales) slots.push_back({part, i, scale_shape(spec, quantizer), 0, of + spec.name + "'", kind});
      if (part == Part::codes)
        for (const TensorPart& rows : tensor_parts(spec, model))
          slots.push_back({part,
                           i,
                           {rows.rows, spec.shape[1]},
                           rows.first_row,
                           of + rows.name + "'",
                           kind + rows.name.substr(spec.name.size())});
    }
  }
  return slots;
}

std::vector<Layout> layouts_of(const StreamSlot& slot, const TensorSpec* spec, const QuantizerConfig& quantizer) {
  switch (slot.part) {
    case Part::codes:
      return layouts_for(quantizer.grid);
    case Part::scales:
      return stores_deltas(quantizer) ? layouts_for_deltas() : layouts_for(Storage::fp16, slot.shape);
    case Part::values:
      return layouts_for(spec->storage, slot.shape);
    default:
      return {Layout::bytes};
  }
}

bool size_is_implied(const StreamSlot& slot, const QuantizerConfig& quantizer, Layout layout) {
  return !(slot.part == Part::codes && is_planes(layout) && has_sign_planes(quantizer.grid));
}

std::uint64_t laid_out_bytes(const StreamSlot& slot, const TensorSpec* spec, const QuantizerConfig& quantizer,
                             Layout layout) {
  const std::uint64_t count = count_of(slot);
  if (slot.part == Part::codes) return max_packed_bytes(layout, quantizer.grid, count);
  if (slot.part == Part::values) return spec->storage == Storage::fp8 ? count : 2 * count;
  if (!stores_deltas(quantizer)) return 2 * count;
  const auto bits = static_cast<std::uint64_t>(quantizer.scale_bits);
  return kDeltaHead + (is_planes(layout) ? bits * ((count + 7) / 8) : count);
}

Result<std::vector<std::uint8_t>> lay_out(const StoredTensor& tensor, const StreamSlot& slot, Layout layout) {
  if (const auto* fp8 = std::get_if<Fp8Tensor>(&tensor.data)) return pack_fp8(layout, slot.shape, fp8->codes);
  if (const auto* fp16 = std::get_if<Fp16Tensor>(&tensor.data)) return pack_fp16(layout, slot.shape, fp16->codes);
  const auto& quantized = std::get<QuantizedTensor>(tensor.data);
  if (slot.part == Part::codes) {
    const auto rows = std::span(quantized.codes)
                          .subspan(static_cast<std::size_t>(slot.first_row * slot.shape[1]),
                                   static_cast<std::size_t>(count_of(slot)));
    return pack_codes(layout, quantized.quantizer.grid, slot.shape, rows);
  }
  if (!quantized.deltas) return pack_fp16(layout, slot.shape, quantized.scales);
  const ScaleDeltas& deltas = *quantized.deltas;
  P5_TRY(const auto packed, pack_deltas(layout, deltas.bits, slot.shape, deltas.deltas));
  std::vector<std::uint8_t> bytes = {
      static_cast<std::uint8_t>(deltas.anchor & 255), static_cast<std::uint8_t>(deltas.anchor >> 8),
      static_cast<std::uint8_t>(deltas.step & 255), static_cast<std::uint8_t>(deltas.step >> 8)};
  bytes.insert(bytes.end(), packed.begin(), packed.end());
  return bytes;
}

Status take_back(StoredTensor& tensor, const StreamSlot& slot, Layout layout, std::span<const std::uint8_t> bytes) {
  if (auto* fp8 = std::get_if<Fp8Tensor>(&tensor.data)) {
    P5_TRY(fp8->codes, unpack_fp8(layout, slot.shape, bytes));
    return {};
  }
  if (auto* fp16 = std::get_if<Fp16Tensor>(&tensor.data)) {
    P5_TRY(fp16->codes, unpack_fp16(layout, slot.shape, bytes));
    return {};
  }
  auto& quantized = std::get<QuantizedTensor>(tensor.data);
  if (slot.part == Part::codes) {
    P5_TRY(const auto codes, unpack_codes(layout, quantized.quantizer.grid, slot.shape, bytes));
    std::copy(codes.begin(), codes.end(), rows_of(quantized.codes, slot).begin());
    return {};
  }
  if (!stores_deltas(quantized.quantizer)) {
    P5_TRY(quantized.scales, unpack_fp16(layout, slot.shape, bytes));
    for (const std::uint16_t scale : quantized.scales)
      if (scale == 0 || scale >= 0x8000) return bad_data("a scale is not positive");
    return {};
  }
  if (bytes.size() < kDeltaHead) return bad_data("scale deltas lack their anchor and step");
  ScaleDeltas deltas;
  deltas.bits = static_cast<int>(quantized.quantizer.scale_bits);
  deltas.anchor = static_cast<std::uint16_t>(bytes[0] | bytes[1] << 8);
  deltas.step = static_cast<std::uint16_t>(bytes[2] | bytes[3] << 8);
  P5_TRY(deltas.deltas, unpack_deltas(layout, deltas.bits, slot.shape, bytes.subspan(kDeltaHead)));
  P5_OK(check_scale_deltas(deltas));
  quantized.scales = reconstruct_scales(deltas);
  quantized.deltas = std::move(deltas);
  return {};
}

}  // namespace par5
