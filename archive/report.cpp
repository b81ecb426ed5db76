// Where the bytes of an artifact went.
#include <array>
#include <cmath>

#include "archive/container.h"
#include "pack/statistics.h"

namespace par5 {
namespace {

// Order-0 entropy of a stream's symbols: codes, deltas or fp8 bytes; of fp16 values the two bytes apart.
std::uint64_t order0_of(const StoredTensor& tensor, const StreamSlot& slot) {
  std::array<std::uint64_t, 256> symbols{}, high{};
  const auto add_bytes = [&](const auto& values) {
    for (const auto value : values) ++symbols[static_cast<std::uint8_t>(value)];
  };
  const auto add_halves = [&](const std::vector<std::uint16_t>& values) {
    for (const std::uint16_t value : values) {
      ++symbols[value & 255u];
      ++high[value >> 8u];
    }
  };
  if (const auto* quantized = std::get_if<QuantizedTensor>(&tensor.data)) {
    if (slot.part == Part::codes)
      add_bytes(std::span(quantized->codes)
                    .subspan(static_cast<std::size_t>(slot.first_row * slot.shape[1]),
                             static_cast<std::size_t>(element_count(slot.shape))));
    else if (quantized->deltas)
      add_bytes(quantized->deltas->deltas);
    else
      add_halves(quantized->scales);
  } else if (const auto* fp8 = std::get_if<Fp8Tensor>(&tensor.data)) {
    add_bytes(fp8->codes);
  } else {
    add_halves(std::get<Fp16Tensor>(tensor.data).codes);
  }
  return static_cast<std::uint64_t>(std::ceil(order0_bytes(symbols) + order0_bytes(high)));
}

TensorReport describe_tensor(const StoredTensor& tensor) {
  TensorReport report;
  report.name = tensor.spec.name;
  report.shape = tensor.spec.shape;
  std::uint64_t zeros = 0;
  if (const auto* quantized = std::get_if<QuantizedTensor>(&tensor.data)) {
    report.grid = grid_name(quantized->quantizer.grid);
    // Weights per scale, whatever the granularity.
    switch (quantized->quantizer.granularity) {
      case Granularity::group:
        report.group = quantized->quantizer.group;
        break;
      case Granularity::row:
        report.group = tensor.spec.shape[1];
        break;
      case Granularity::tensor:
        report.group = element_count(tensor.spec.shape);
        break;
    }
    for (const std::int8_t code : quantized->codes) zeros += code == 0;
  } else if (const auto* fp8 = std::get_if<Fp8Tensor>(&tensor.data)) {
    report.grid = "fp8";
    for (const std::uint8_t code : fp8->codes) zeros += (code & 0x7f) == 0;
  } else {
    report.grid = "fp16";
    for (const std::uint16_t code : std::get<Fp16Tensor>(tensor.data).codes) zeros += (code & 0x7fff) == 0;
  }
  const std::int64_t count = element_count(tensor.spec.shape);
  report.zero_share = count > 0 ? static_cast<double>(zeros) / static_cast<double>(count) : 0;
  return report;
}

std::uint64_t& part_total(ArtifactReport& report, Part part) {
  switch (part) {
    case Part::codes:
      return report.quantised_bytes;
    case Part::scales:
      return report.scale_bytes;
    case Part::values:
      return report.float_bytes;
    case Part::tokenizer:
      return report.tokenizer_bytes;
    case Part::self_test:
      break;
  }
  return report.metadata_bytes;
}

void add_stream(ArtifactReport& report, const Container& container, const StreamEntry& entry, const StreamSlot& slot,
                const Artifact& artifact, std::uint64_t offset, std::uint64_t stored_bytes) {
  StreamReport stream;
  stream.part = slot.part_label;
  stream.codec = codec_name(entry.codec);
  stream.layout = entry.codec == Codec::own ? "chain" + std::to_string(entry.chain) : layout_name(entry.layout);
  stream.offset = offset;
  stream.stored_bytes = stored_bytes;
  stream.raw_bytes = entry.raw_bytes;
  if (slot.part == Part::tokenizer || slot.part == Part::self_test) {
    const Metadata& metadata = container.metadata;
    stream.raw_bytes = slot.part == Part::tokenizer ? metadata.tokenizer_bytes : metadata.self_test_bytes;
    report.other_streams.push_back(std::move(stream));
    return;
  }
  if (entry.codec == Codec::own)
    stream.raw_bytes = laid_out_bytes(slot, &container.specs[slot.tensor], container.metadata.quantizer, entry.layout);
  stream.values = static_cast<std::uint64_t>(element_count(slot.shape));
  stream.order0_bytes = order0_of(artifact.model.tensors[slot.tensor], slot);
  report.tensors[slot.tensor].streams.push_back(std::move(stream));
}

}  // namespace

ArtifactReport make_report(const Container& container, const Artifact& artifact,
                           const std::vector<std::uint64_t>& slot_bytes) {
  ArtifactReport report;
  report.file_bytes = container.file_bytes;
  report.format_version = kFormatVersion;
  const auto section = [&](std::string_view name, std::uint64_t offset, std::uint64_t end) {
    if (end > offset) report.sections.push_back({std::string(name), offset, end - offset});
  };
  section("start", 0, container.metadata_offset);
  section("metadata", container.metadata_offset, container.directory_offset);
  section("directory", container.directory_offset, container.checksums_offset);
  section("checksums", container.checksums_offset, container.streams_offset);

  for (const StoredTensor& tensor : artifact.model.tensors) report.tensors.push_back(describe_tensor(tensor));
  for (const StreamEntry& entry : container.entries) {
    std::uint64_t offset = entry.offset;
    for (const std::size_t i : entry.slots) {
      const StreamSlot& slot = container.slots[i];
      if (report.sections.back().name == part_name(slot.part))
        report.sections.back().bytes += slot_bytes[i];
      else
        report.sections.push_back({std::string(part_name(slot.part)), offset, slot_bytes[i]});
      part_total(report, slot.part) += slot_bytes[i];
      add_stream(report, container, entry, slot, artifact, offset, slot_bytes[i]);
      offset += slot_bytes[i];
    }
  }
  section("file checksum", container.file_bytes - kFileChecksumBytes, container.file_bytes);
  report.metadata_bytes += container.checksums_offset;
  report.checksum_bytes = container.streams_offset - container.checksums_offset + kFileChecksumBytes;
  report.codec_versions = container.metadata.codec_versions;
  report.time_limited = container.metadata.time_limited;
  return report;
}

}  // namespace par5
