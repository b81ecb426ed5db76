#include "archive/codec.h"

#include <algorithm>
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
    case Codec::own:
      return "own";
    case Codec::lzma2:
      return "lzma2";
    case Codec::lrzip:
      return "lrzip";
  }
  return "unknown";
}

std::string to_string(const CodecChoice& choice) {
  std::string text(codec_name(choice.codec));
  if (choice.codec != Codec::lzma && choice.codec != Codec::lzma2) return text;
  text += " lc=" + std::to_string(choice.properties % 9) + " lp=" + std::to_string(choice.properties / 9 % 5) +
          " pb=" + std::to_string(choice.properties / 45);
  return choice.extreme ? text : text + " plain";
}

Result<std::vector<Codec>> codecs_from_list(std::string_view list) {
  std::vector<Codec> codecs;
  std::string names;
  for (int i = 0; i < kCodecCount; ++i) names += (i > 0 ? ", " : "") + std::string(codec_name(static_cast<Codec>(i)));
  for (std::size_t start = 0; start <= list.size();) {
    const std::size_t end = std::min(list.find(',', start), list.size());
    const std::string_view name = list.substr(start, end - start);
    int i = 0;
    while (i < kCodecCount && codec_name(static_cast<Codec>(i)) != name) ++i;
    if (i == kCodecCount)
      return usage_error("there is no codec '" + std::string(name) + "'; the codecs are " + names, "--codecs");
    codecs.push_back(static_cast<Codec>(i));
    start = end + 1;
  }
  return codecs;
}

Result<std::vector<std::byte>> compress(CodecChoice choice, std::span<const std::byte> raw) {
  switch (choice.codec) {
    case Codec::raw:
      return std::vector<std::byte>(raw.begin(), raw.end());
    case Codec::lzma:
      return codec_detail::compress_lzma(choice, raw);
    case Codec::zstd:
      return codec_detail::compress_zstd(raw);
    case Codec::brotli:
      return codec_detail::compress_brotli(raw);
    case Codec::lzma2:
      return codec_detail::compress_lzma2(choice, raw);
    case Codec::lrzip:
      return codec_detail::compress_lrzip(raw);
    case Codec::own:
      break;
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
    case Codec::lzma2:
      return codec_detail::decompress_lzma2(stored, out);
    case Codec::lrzip:
      return codec_detail::decompress_lrzip(stored, out);
    case Codec::own:
      break;
  }
  return bad_data("unknown codec");
}

std::string codec_library_versions() {
  return codec_detail::lzma_version() + " " + codec_detail::zstd_version() + " " + codec_detail::brotli_version();
}

}  // namespace par5
