// The byte codecs of the container. A codec's parameters travel in its own bytes; the decoded size is always known
// from outside, so a decoder fills exactly the buffer that it is given and anything else is an error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace par5 {

// The numbers stand in files: docs/format.md, "Codecs".
// `own` is par5's coder, which codes whole chains of tensors (chains.h) and is no byte codec; `lrzip` is a program
// that has to be installed wherever its streams are written or read.
enum class Codec : std::uint8_t { raw = 0, lzma = 1, zstd = 2, brotli = 3, own = 4, lzma2 = 5, lrzip = 6 };
inline constexpr int kCodecCount = 7;
std::string_view codec_name(Codec codec);
// The codecs of a list like "own,brotli"; an unknown name is a usage error that names those that there are.
Result<std::vector<Codec>> codecs_from_list(std::string_view list);

// One way to compress: a byte codec with its parameters.
struct CodecChoice {
  Codec codec = Codec::raw;
  std::uint8_t properties = 0;  // lzma, lzma2: (pb · 5 + lp) · 9 + lc
  bool extreme = true;          // lzma, lzma2: search longer; rarely a few bytes worse than the plain preset 9
};
std::string to_string(const CodecChoice& choice);  // "lzma lc=0 lp=0 pb=0"

// Compresses; the same bytes on every machine and thread count for the same library versions. Memory: up to 200 MB, and
// 300 MB more in lrzip's own process. lrzip alone may fail: missing_tool where it is not installed, resource_limit
// where it takes too long, bad_data where what it stored does not decode to `raw`.
Result<std::vector<std::byte>> compress(CodecChoice choice, std::span<const std::byte> raw);

// Decodes `stored` into exactly out.size() bytes. Too few, too many, left-over or malformed bytes are bad_data without
// a place: the caller knows the file and the offset. Memory beyond `out` is at most 32 MiB plus, for lzma, out.size();
// lrzip runs as a process of its own, within bounds (codec_lrzip.cpp), and is missing_tool where it is not installed.
Status decompress(Codec codec, std::span<const std::byte> stored, std::span<std::byte> out);

// Versions of the linked liblzma, zstd and brotli, which decide the encoder's bytes: "5.4.1 1.5.4 1.0.9".
std::string codec_library_versions();

namespace codec_detail {

Result<std::vector<std::byte>> compress_lzma(const CodecChoice& choice, std::span<const std::byte> raw);
Status decompress_lzma(std::span<const std::byte> stored, std::span<std::byte> out);
std::string lzma_version();
Result<std::vector<std::byte>> compress_lzma2(const CodecChoice& choice, std::span<const std::byte> raw);
Status decompress_lzma2(std::span<const std::byte> stored, std::span<std::byte> out);
Result<std::vector<std::byte>> compress_zstd(std::span<const std::byte> raw, int level = 22);
Status decompress_zstd(std::span<const std::byte> stored, std::span<std::byte> out);
std::string zstd_version();
Result<std::vector<std::byte>> compress_brotli(std::span<const std::byte> raw);
Status decompress_brotli(std::span<const std::byte> stored, std::span<std::byte> out);
std::string brotli_version();
Result<std::vector<std::byte>> compress_lrzip(std::span<const std::byte> raw);
Status decompress_lrzip(std::span<const std::byte> stored, std::span<std::byte> out);
std::string lrzip_version();  // "0.651"; "unknown" where it does not say

}  // namespace codec_detail

}  // namespace par5
