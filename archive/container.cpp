#include "archive/container.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "archive/chains.h"

namespace par5 {
namespace {

// Everything behind the header length fits in this; it bounds what a hostile length can ask for.
constexpr std::uint64_t kLongestHead = 1 << 24;

// Column 1: how every stream is coded. Members of one chain become one entry, at the place of the first.
Status read_codings(ByteReader& in, Container& container) {
  std::map<std::pair<ChainKind, int>, std::size_t> chains;  // to their entries
  for (std::size_t i = 0; i < container.slots.size(); ++i) {
    const StreamSlot& slot = container.slots[i];
    const std::uint64_t start = in.offset();
    P5_TRY(const std::uint64_t coding, in.fixed(1));
    if (coding >> 4 >= kCodecCount)
      return in.error_at(
          start, "it uses codec number " + std::to_string(coding >> 4) + ", which does not exist in format version 1");
    StreamEntry entry;
    entry.slots = {i};
    entry.codec = static_cast<Codec>(coding >> 4);
    if (entry.codec == Codec::own) {
      entry.chain = static_cast<int>(coding & 15);
      const auto [chain, is_new] =
          chains.try_emplace({chain_kind(slot, container.specs), entry.chain}, container.entries.size());
      if (!is_new) {
        container.entries[chain->second].slots.push_back(i);
        continue;
      }
    } else {
      entry.layout = static_cast<Layout>(coding & 15);
      const auto layouts = layouts_of(slot, &container.specs[slot.tensor], container.metadata.quantizer);
      if (std::find(layouts.begin(), layouts.end(), entry.layout) == layouts.end())
        return in.error_at(start, "layout number " + std::to_string(coding & 15) + " does not fit the " + slot.name);
    }
    container.entries.push_back(std::move(entry));
  }
  return {};
}

Status read_directory(ByteReader& in, Container& container) {
  const Metadata& metadata = container.metadata;
  const QuantizerConfig& quantizer = metadata.quantizer;
  container.slots = stream_slots(metadata.model, quantizer, container.specs, metadata.tokenizer_bytes > 0,
                                 metadata.self_test_bytes > 0);
  if (in.remaining() < container.slots.size())
    return in.error("its directory is too short for " + std::to_string(container.slots.size()) + " streams");
  container.directory_offset = in.offset();
  P5_OK(read_codings(in, container));
  for (StreamEntry& entry : container.entries) {
    const std::uint64_t start = in.offset();
    P5_TRY(entry.stored_bytes, in.varint());
    for (const std::size_t i : entry.slots) {
      const StreamSlot& slot = container.slots[i];
      entry.raw_bytes += slot.part == Part::tokenizer ? metadata.tokenizer_bytes
                         : slot.part == Part::self_test
                             ? metadata.self_test_bytes
                             : laid_out_bytes(slot, &container.specs[slot.tensor], quantizer, entry.layout);
    }
    const StreamSlot& first = container.slots[entry.slots[0]];
    if (size_is_implied(first, quantizer, entry.layout)) continue;
    P5_TRY(const std::uint64_t raw_bytes, in.varint());
    if (raw_bytes > entry.raw_bytes)
      return in.error_at(start, "the " + first.name + " claim " + std::to_string(raw_bytes) + " bytes where at most " +
                                    std::to_string(entry.raw_bytes) + " can be");
    entry.raw_bytes = raw_bytes;
  }
  container.checksums_offset = in.offset();
  for (StreamEntry& entry : container.entries) {
    P5_TRY(const std::uint64_t checksum, in.fixed(kStreamChecksumBytes));
    entry.checksum = static_cast<std::uint32_t>(checksum);
  }
  if (in.remaining() != 0) return in.error("its directory has bytes after its end");
  return {};
}

}  // namespace

Status check_value_count(const Metadata& metadata, const std::vector<TensorSpec>& specs, std::uint64_t file_bytes) {
  const std::uint64_t most = most_values(file_bytes);
  std::uint64_t total = 0;
  for (const TensorSpec& spec : specs) {
    total += static_cast<std::uint64_t>(element_count(spec.shape));
    if (spec.storage == Storage::quantized)
      total += static_cast<std::uint64_t>(scale_count(spec.shape, metadata.quantizer));
    if (total > most)
      return resource_limit("an artifact of " + std::to_string(file_bytes) + " bytes may decode to at most " +
                            std::to_string(most) + " values; its architecture has more");
  }
  return {};
}

Result<Container> parse_container(std::span<const std::byte> file, const std::string& path) {
  ByteReader in(file, path, 0, "the file");
  if (file.size() < kMagic.size() || std::memcmp(file.data(), kMagic.data(), kMagic.size()) != 0)
    return bad_data("'" + path + "' is not a par5 artifact: it does not start with \"par5\"", path, 0);
  P5_TRY([[maybe_unused]] const auto magic, in.bytes(kMagic.size()));
  P5_TRY(const std::uint64_t version, in.fixed(1));
  if (version != kFormatVersion)
    return bad_data("'" + path + "' has format version " + std::to_string(version) + "; this par5 reads version " +
                        std::to_string(kFormatVersion),
                    path, kMagic.size());
  Container container;
  P5_TRY(const auto head, in.counted(kLongestHead));
  container.metadata_offset = in.offset() - head.size();
  const std::uint64_t head_end = in.offset();
  P5_TRY(const std::uint64_t head_checksum, in.fixed(kStreamChecksumBytes));
  if (!checksum_holds(head_checksum, short_checksum(file.first(static_cast<std::size_t>(head_end)))))
    return in.error_at(head_end, "the checksum of its first " + std::to_string(head_end) + " bytes does not hold");
  container.streams_offset = in.offset();
  container.file_bytes = file.size();

  ByteReader header(head, path, container.metadata_offset, "the header");
  P5_TRY(container.metadata, read_metadata(header));
  container.specs = tensor_specs(container.metadata.model);
  P5_OK(check_value_count(container.metadata, container.specs, file.size()).map_error([&](Error error) {
    return error.in_file(path);
  }));
  P5_OK(read_directory(header, container));

  std::uint64_t offset = container.streams_offset;
  for (StreamEntry& entry : container.entries) {
    entry.offset = offset;
    if (entry.stored_bytes > file.size() - offset)
      return bad_data("'" + path + "' is truncated at the " + container.slots[entry.slots[0]].name + ": " +
                          std::to_string(entry.stored_bytes) + " bytes belong there and " +
                          std::to_string(file.size() - offset) + " remain",
                      path, offset);
    offset += entry.stored_bytes;
  }
  if (file.size() - offset != kFileChecksumBytes)
    return bad_data("'" + path + "' should be " + std::to_string(offset + kFileChecksumBytes) + " bytes long and has " +
                        std::to_string(file.size()),
                    path, offset);
  ByteReader tail(file.subspan(static_cast<std::size_t>(offset)), path, offset, "the file");
  P5_TRY(const std::uint64_t checksum, tail.fixed(kFileChecksumBytes));
  container.intact = checksum_holds(checksum, xxh3_64(file.first(static_cast<std::size_t>(offset))));
  return container;
}

}  // namespace par5
