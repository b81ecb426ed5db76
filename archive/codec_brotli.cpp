// Brotli (RFC 7932), quality 11.
#include <brotli/decode.h>
#include <brotli/encode.h>

#include <algorithm>
#include <bit>

#include "archive/codec.h"

namespace par5::codec_detail {

Result<std::vector<std::byte>> compress_brotli(std::span<const std::byte> raw) {
  std::vector<std::byte> stored(std::max<std::size_t>(16, BrotliEncoderMaxCompressedSize(raw.size())));
  std::size_t size = stored.size();
  // The smallest window that covers the data; 2^24 - 16 is the largest of the standard.
  const int window = std::clamp(static_cast<int>(std::bit_width(raw.size() + 16)), BROTLI_MIN_WINDOW_BITS,
                                static_cast<int>(BROTLI_MAX_WINDOW_BITS));
  if (!BrotliEncoderCompress(BROTLI_MAX_QUALITY, window, BROTLI_MODE_GENERIC, raw.size(),
                             reinterpret_cast<const std::uint8_t*>(raw.data()), &size,
                             reinterpret_cast<std::uint8_t*>(stored.data())))
    return internal_error("brotli failed to compress a stream");
  stored.resize(size);
  return stored;
}

// The decoder's own window is at most 16 MiB: large windows are off unless asked for.
Status decompress_brotli(std::span<const std::byte> stored, std::span<std::byte> out) {
  BrotliDecoderState* state = BrotliDecoderCreateInstance(nullptr, nullptr, nullptr);
  if (!state) return resource_limit("brotli cannot start its decoder");
  std::size_t available_in = stored.size(), available_out = out.size();
  const auto* next_in = reinterpret_cast<const std::uint8_t*>(stored.data());
  auto* next_out = reinterpret_cast<std::uint8_t*>(out.data());
  const BrotliDecoderResult result =
      BrotliDecoderDecompressStream(state, &available_in, &next_in, &available_out, &next_out, nullptr);
  BrotliDecoderDestroyInstance(state);
  if (result != BROTLI_DECODER_RESULT_SUCCESS || available_out != 0) return bad_data("a brotli stream is malformed");
  if (available_in != 0) return bad_data("a brotli stream has bytes after its end");
  return {};
}

std::string brotli_version() {
  const std::uint32_t version = BrotliDecoderVersion();
  return std::to_string(version >> 24) + "." + std::to_string(version >> 12 & 0xfff) + "." +
         std::to_string(version & 0xfff);
}

}  // namespace par5::codec_detail
