// Internal to archive/: which streams an artifact holds, and how a tensor's part becomes bytes and comes back.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "pack/packing.h"
#include "pack/stored_model.h"

namespace par5 {

// What a stream holds. Streams stand in the file in the order of these kinds, tensors in tensor_specs order.
enum class Part : std::uint8_t { tokenizer, self_test, codes, scales, values };
std::string_view part_name(Part part);

struct StreamSlot {
  Part part = Part::codes;
  std::size_t tensor = 0;  // index in tensor_specs order; 0 for the first two parts
  Shape shape;             // of the symbols: rows of a matrix, scales as [rows, groups]; empty for the first two parts
  std::int64_t first_row = 0;
  std::string name;        // "codes of 'blocks.0.attn.c_qkv.weight:q'", for messages
  std::string part_label;  // "codes", or "codes:q" for a part of a fused matrix
};

std::vector<StreamSlot> stream_slots(const ModelConfig& model, const QuantizerConfig& quantizer,
                                     const std::vector<TensorSpec>& specs, bool tokenizer, bool self_test);

// The layouts that a stream may have; ties go to the earlier one. Never empty.
std::vector<Layout> layouts_of(const StreamSlot& slot, const TensorSpec* spec, const QuantizerConfig& quantizer);

// How many bytes lay_out gives: exact where `size_is_implied`, otherwise the most that it can give.
std::uint64_t laid_out_bytes(const StreamSlot& slot, const TensorSpec* spec, const QuantizerConfig& quantizer,
                             Layout layout);
// Bit planes of grids with a zero are shorter the more zeros there are.
bool size_is_implied(const StreamSlot& slot, const QuantizerConfig& quantizer, Layout layout);

// A tensor's part as bytes, before the codec.
Result<std::vector<std::uint8_t>> lay_out(const StoredTensor& tensor, const StreamSlot& slot, Layout layout);
// The inverse, into a tensor whose vectors have their final size. Bytes that lay_out never gives are bad_data.
Status take_back(StoredTensor& tensor, const StreamSlot& slot, Layout layout, std::span<const std::uint8_t> bytes);

}  // namespace par5
