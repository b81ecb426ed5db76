// Internal to archive/: which streams an artifact holds, and the layouts that turn a tensor's part into bytes and back.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "pack/stored_model.h"

namespace par5 {

// What a stream holds. Streams stand in the file in the order of these kinds, tensors in tensor_specs order.
enum class Part : std::uint8_t { tokenizer, self_test, codes, scales, values };
std::string_view part_name(Part part);

struct StreamSlot {
  Part part = Part::codes;
  std::size_t tensor = 0;  // index in tensor_specs order, for the last three parts
};

std::vector<StreamSlot> stream_slots(const std::vector<TensorSpec>& specs, bool tokenizer, bool self_test);
// "codes of 'blocks.0.attn.proj.weight'", for messages.
std::string describe(const StreamSlot& slot, const std::vector<TensorSpec>& specs);

// The layouts that a stream may have, in the order in which ties are resolved; never empty.
std::vector<std::uint8_t> layouts_of(const StreamSlot& slot, const std::vector<TensorSpec>& specs,
                                     const QuantizerConfig& quantizer);
bool layout_allowed(const StreamSlot& slot, const std::vector<TensorSpec>& specs, const QuantizerConfig& quantizer,
                    std::uint8_t layout);
std::string_view layout_name(std::uint8_t layout);

// Bytes of a tensor's part in a layout, before the codec.
std::vector<std::byte> lay_out(const StoredTensor& tensor, Part part, std::uint8_t layout);
// How many bytes lay_out gives for a tensor of this shape.
std::uint64_t laid_out_bytes(const TensorSpec& spec, const QuantizerConfig& quantizer, Part part, std::uint8_t layout);
// The inverse, into a tensor whose spec and kind of data are set. Bytes that lay_out never gives are bad_data.
Status take_back(StoredTensor& tensor, Part part, std::uint8_t layout, std::span<const std::byte> bytes);

}  // namespace par5
