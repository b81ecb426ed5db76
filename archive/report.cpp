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

}  // namespace

ArtifactReport make_report(const Container& container, const Artifact& artifact) {
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
  for (const StreamEntry& stream : container.streams) {
    const Part part = stream.slot.part;
    if (report.sections.back().name == part_name(part))
      report.sections.back().bytes += stream.stored_bytes;
    else
      report.sections.push_back({std::string(part_name(part)), stream.offset, stream.stored_bytes});
    std::uint64_t& total = part == Part::codes       ? report.quantised_bytes
                           : part == Part::scales    ? report.scale_bytes
                           : part == Part::values    ? report.float_bytes
                           : part == Part::tokenizer ? report.tokenizer_bytes
                                                     : report.metadata_bytes;
    total += stream.stored_bytes;
    StreamReport entry;
    entry.part = stream.slot.part_label;
    entry.codec = codec_name(stream.codec);
    entry.offset = stream.offset;
    entry.stored_bytes = stream.stored_bytes;
    entry.layout = layout_name(stream.layout);
    entry.raw_bytes = stream.raw_bytes;
    if (part == Part::tokenizer || part == Part::self_test) {
      report.other_streams.push_back(std::move(entry));
      continue;
    }
    const StoredTensor& tensor = artifact.model.tensors[stream.slot.tensor];
    entry.order0_bytes = order0_of(tensor, stream.slot);
    report.tensors[stream.slot.tensor].streams.push_back(std::move(entry));
  }
  section("file checksum", container.file_bytes - kFileChecksumBytes, container.file_bytes);
  report.metadata_bytes += container.checksums_offset;
  report.checksum_bytes = container.streams_offset - container.checksums_offset + kFileChecksumBytes;
  report.codec_versions = container.metadata.codec_versions;
  return report;
}

}  // namespace par5
