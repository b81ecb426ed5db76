#include "eval/baselines.h"

#include <brotli/encode.h>
#include <lzma.h>
#include <zstd.h>

#include <algorithm>

#include "core/parallel.h"

namespace par5 {
namespace {

const std::uint8_t* bytes_of(std::span<const std::byte> text) {
  return reinterpret_cast<const std::uint8_t*>(text.data());
}

// Each returns the size of the complete compressed file, or 0 on failure.
std::size_t xz_size(std::span<const std::byte> text) {
  std::vector<std::uint8_t> out(lzma_stream_buffer_bound(text.size()));
  std::size_t position = 0;
  const lzma_ret result = lzma_easy_buffer_encode(9 | LZMA_PRESET_EXTREME, LZMA_CHECK_CRC64, nullptr, bytes_of(text),
                                                  text.size(), out.data(), &position, out.size());
  return result == LZMA_OK ? position : 0;
}

std::size_t zstd_size(std::span<const std::byte> text) {
  std::vector<std::uint8_t> out(ZSTD_compressBound(text.size()));
  const std::size_t size = ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 19);
  return ZSTD_isError(size) ? 0 : size;
}

std::size_t brotli_size(std::span<const std::byte> text) {
  std::size_t size = BrotliEncoderMaxCompressedSize(text.size());
  std::vector<std::uint8_t> out(size);
  return BrotliEncoderCompress(11, BROTLI_MAX_WINDOW_BITS, BROTLI_MODE_TEXT, text.size(), bytes_of(text), &size,
                               out.data())
             ? size
             : 0;
}

}  // namespace

Result<std::vector<Baseline>> compressor_baselines(std::span<const std::byte> text, std::size_t threads) {
  if (text.empty()) return bad_data("there is no text to compress");
  struct Compressor {
    const char* name;
    std::size_t (*size)(std::span<const std::byte>);
  };
  constexpr Compressor kCompressors[] = {{"xz -9e", xz_size}, {"zstd -19", zstd_size}, {"brotli -q 11", brotli_size}};
  std::vector<Baseline> baselines(std::size(kCompressors));
  parallel_for(baselines.size(), threads, [&](std::size_t i) {
    const std::size_t size = kCompressors[i].size(text);
    baselines[i] = {kCompressors[i].name, size, 8.0 * static_cast<double>(size) / static_cast<double>(text.size())};
  });
  for (const Baseline& baseline : baselines)
    if (baseline.compressed_bytes == 0) return internal_error("the library behind " + baseline.name + " failed");
  return baselines;
}

}  // namespace par5
