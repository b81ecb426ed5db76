// Where the bytes of an artifact went.
#include <array>
#include <cmath>

#include "archive/container.h"

namespace par5 {
namespace {

struct Histogram {
  std::array<std::uint64_t, 256> counts{};
  std::uint64_t total = 0;

  void add(std::uint8_t symbol) {
    ++counts[symbol];
    ++total;
  }
  std::uint64_t entropy_bytes() const {
    double bits = 0;
    for (const std::uint64_t count : counts)
      if (count > 0) bits += static_cast<double>(count) * std::log2(static_cast<double>(total) / static_cast<double>(count));
    return static_cast<std::uint64_t>(std::ceil(bits / 8));
  }
};

// Order-0 entropy of a part's symbols: codes, deltas or fp8 bytes; of fp16 values the two bytes apart.
std::uint64_t order0_bytes(const StoredTensor& tensor, Part part) {
  Histogram first, second;
  const auto add_halves = [&](const std::vector<std::uint16_t>& values) {
    for (const std::uint16_t value : values) {
      first.add(static_cast<std::uint8_t>(value & 255));
      second.add(static_cast<std::uint8_t>(value >> 8));
    }
  };
  if (const auto* quantized = std::get_if<QuantizedTensor>(&tensor.data)) {
    if (part == Part::codes)
      for (const std::int8_t code : quantized->codes) first.add(static_cast<std::uint8_t>(code));
    else if (quantized->deltas)
      for (const std::int8_t delta : quantized->deltas->deltas) first.add(static_cast<std::uint8_t>(delta));
    else
      add_halves(quantized->scales);
  } else if (const auto* fp8 = std::get_if<Fp8Tensor>(&tensor.data)) {
    for (const std::uint8_t code : fp8->codes) first.add(code);
  } else {
    add_halves(std::get<Fp16Tensor>(tensor.data).codes);
  }
  return first.entropy_bytes() + second.entropy_bytes();
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
    std::uint64_t& total = part == Part::codes    ? report.quantised_bytes
                           : part == Part::scales ? report.scale_bytes
                           : part == Part::values ? report.float_bytes
                           : part == Part::tokenizer ? report.tokenizer_bytes
                                                     : report.metadata_bytes;
    total += stream.stored_bytes;
    StreamReport entry;
    entry.part = part_name(part);
    entry.codec = codec_name(stream.codec);
    entry.offset = stream.offset;
    entry.stored_bytes = stream.stored_bytes;
    entry.layout = layout_name(stream.layout);
    if (part == Part::tokenizer || part == Part::self_test) {
      entry.raw_bytes = part == Part::tokenizer ? container.metadata.tokenizer_bytes : container.metadata.self_test_bytes;
      entry.order0_bytes = 0;
      report.other_streams.push_back(std::move(entry));
      continue;
    }
    const StoredTensor& tensor = artifact.model.tensors[stream.slot.tensor];
    entry.raw_bytes = laid_out_bytes(tensor.spec, container.metadata.quantizer, part, stream.layout);
    entry.order0_bytes = order0_bytes(tensor, part);
    report.tensors[stream.slot.tensor].streams.push_back(std::move(entry));
  }
  section("file checksum", container.file_bytes - kFileChecksumBytes, container.file_bytes);
  report.metadata_bytes += container.checksums_offset;
  report.checksum_bytes = container.streams_offset - container.checksums_offset + kFileChecksumBytes;
  report.codec_versions = container.metadata.codec_versions;
  return report;
}

}  // namespace par5
