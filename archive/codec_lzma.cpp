// LZMA1 and LZMA2 without container and without end marker. The first byte of an LZMA1 range coder's output is always
// zero, so the properties byte (lc, lp, pb) takes its place: the parameters cost nothing. LZMA2 is LZMA1 in chunks of
// which each may be stored as it is; its chunks carry the properties.
#include <lzma.h>

#include <algorithm>

#include "archive/codec.h"

namespace par5::codec_detail {
namespace {

// liblzma's own bounds: lc + lp at most 4, pb at most 4.
bool split_properties(std::uint8_t properties, lzma_options_lzma& options) {
  options.lc = properties % 9u;
  options.lp = properties / 9u % 5u;
  options.pb = properties / 45u;
  return options.pb <= 4 && options.lc + options.lp <= 4;
}

// A dictionary larger than the data is of no use; liblzma's smallest is 4 KiB.
void set_size(lzma_options_lzma& options, std::size_t size) {
  options.dict_size =
      static_cast<std::uint32_t>(std::clamp<std::size_t>(size, LZMA_DICT_SIZE_MIN, std::size_t{1} << 26));
  options.ext_flags = 0;  // no end marker: the size is known
  lzma_set_ext_size(options, size);
}

// Frees liblzma's memory on every way out.
struct Stream {
  lzma_stream stream = LZMA_STREAM_INIT;
  ~Stream() { lzma_end(&stream); }
};

constexpr std::byte kEndOfChunks{0};  // LZMA2's last byte, not stored

Result<std::vector<std::byte>> encode(lzma_vli filter, const CodecChoice& choice, std::span<const std::byte> raw) {
  lzma_options_lzma options{};
  if (lzma_lzma_preset(&options, 9 | (choice.extreme ? LZMA_PRESET_EXTREME : 0)))
    return internal_error("liblzma lacks its preset 9");
  if (!split_properties(choice.properties, options)) return internal_error("impossible LZMA properties");
  set_size(options, raw.size());
  const lzma_filter filters[] = {{filter, &options}, {LZMA_VLI_UNKNOWN, nullptr}};
  std::vector<std::byte> stored(raw.size() + raw.size() / 16 + 128);
  Stream guard;
  lzma_stream& stream = guard.stream;
  if (lzma_raw_encoder(&stream, filters) != LZMA_OK) return resource_limit("liblzma cannot start its encoder");
  stream.next_in = reinterpret_cast<const std::uint8_t*>(raw.data());
  stream.avail_in = raw.size();
  stream.next_out = reinterpret_cast<std::uint8_t*>(stored.data());
  stream.avail_out = stored.size();
  if (lzma_code(&stream, LZMA_FINISH) != LZMA_STREAM_END) return internal_error("liblzma failed to compress a stream");
  stored.resize(static_cast<std::size_t>(stream.total_out));
  return stored;
}

// Decodes `first` and then `rest`.
Status decode(lzma_vli filter, lzma_options_lzma& options, std::span<const std::byte> first,
              std::span<const std::byte> rest, std::span<std::byte> out) {
  set_size(options, out.size());
  const lzma_filter filters[] = {{filter, &options}, {LZMA_VLI_UNKNOWN, nullptr}};
  Stream guard;
  lzma_stream& stream = guard.stream;
  if (lzma_raw_decoder(&stream, filters) != LZMA_OK) return resource_limit("liblzma cannot start its decoder");
  stream.next_out = reinterpret_cast<std::uint8_t*>(out.data());
  stream.avail_out = out.size();
  lzma_ret result = LZMA_OK;
  for (const std::span<const std::byte> part : {first, rest}) {
    if (result != LZMA_OK) return bad_data("an LZMA stream has bytes after its end");
    stream.next_in = reinterpret_cast<const std::uint8_t*>(part.data());
    stream.avail_in = part.size();
    result = lzma_code(&stream, part.data() == rest.data() ? LZMA_FINISH : LZMA_RUN);
    if (result == LZMA_MEM_ERROR) return resource_limit("out of memory in the LZMA decoder");
    if (result != LZMA_STREAM_END && result != LZMA_OK) return bad_data("an LZMA stream is malformed");
    if (stream.avail_in != 0) return bad_data("an LZMA stream has bytes after its end");
  }
  if (result != LZMA_STREAM_END || stream.avail_out != 0) return bad_data("an LZMA stream is malformed");
  return {};
}

}  // namespace

Result<std::vector<std::byte>> compress_lzma(const CodecChoice& choice, std::span<const std::byte> raw) {
  P5_TRY(std::vector<std::byte> stored, encode(LZMA_FILTER_LZMA1EXT, choice, raw));
  if (stored.empty() || stored[0] != std::byte{0}) return internal_error("liblzma's output does not start with zero");
  stored[0] = static_cast<std::byte>(choice.properties);
  return stored;
}

Status decompress_lzma(std::span<const std::byte> stored, std::span<std::byte> out) {
  if (stored.empty()) return bad_data("an LZMA stream is empty");
  lzma_options_lzma options{};
  if (!split_properties(std::to_integer<std::uint8_t>(stored[0]), options))
    return bad_data("an LZMA stream has impossible properties");
  const std::byte zero{0};
  return decode(LZMA_FILTER_LZMA1EXT, options, {&zero, 1}, stored.subspan(1), out);
}

Result<std::vector<std::byte>> compress_lzma2(const CodecChoice& choice, std::span<const std::byte> raw) {
  P5_TRY(std::vector<std::byte> stored, encode(LZMA_FILTER_LZMA2, choice, raw));
  if (stored.empty() || stored.back() != kEndOfChunks) return internal_error("liblzma's LZMA2 does not end with zero");
  stored.pop_back();
  return stored;
}

Status decompress_lzma2(std::span<const std::byte> stored, std::span<std::byte> out) {
  lzma_options_lzma options{};
  return decode(LZMA_FILTER_LZMA2, options, stored, {&kEndOfChunks, 1}, out);
}

std::string lzma_version() { return lzma_version_string(); }

}  // namespace par5::codec_detail
