#include "archive/codec.h"

#include <cstring>

namespace par5 {

std::string_view codec_name(Codec codec) {
  switch (codec) {
    case Codec::raw:
      return "raw";
    case Codec::lzma:
      return "lzma";
    case Codec::zstd:
      return "zstd";
    case Codec::brotli:
      return "brotli";
  }
  return "unknown";
}

Result<std::vector<std::byte>> compress(CodecChoice choice, std::span<const std::byte> raw) {
  switch (choice.codec) {
    case Codec::raw:
      return std::vector<std::byte>(raw.begin(), raw.end());
    case Codec::lzma:
      return codec_detail::compress_lzma(choice.parameter, raw);
    case Codec::zstd:
      return codec_detail::compress_zstd(raw);
    case Codec::brotli:
      return codec_detail::compress_brotli(raw);
  }
  return internal_error("unknown codec");
}

Status decompress(Codec codec, std::span<const std::byte> stored, std::span<std::byte> out) {
  switch (codec) {
    case Codec::raw:
      if (stored.size() != out.size())
        return bad_data("a raw stream has " + std::to_string(stored.size()) + " bytes where " +
                        std::to_string(out.size()) + " belong");
      if (!out.empty()) std::memcpy(out.data(), stored.data(), out.size());
      return {};
    case Codec::lzma:
      return codec_detail::decompress_lzma(stored, out);
    case Codec::zstd:
      return codec_detail::decompress_zstd(stored, out);
    case Codec::brotli:
      return codec_detail::decompress_brotli(stored, out);
  }
  return bad_data("unknown codec");
}

std::string codec_library_versions() {
  return codec_detail::lzma_version() + " " + codec_detail::zstd_version() + " " + codec_detail::brotli_version();
}

}  // namespace par5
