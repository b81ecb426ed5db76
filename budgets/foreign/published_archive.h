// The two published low-bit archives of the field (parameter-golf pull requests 640 and 2086), opened without running
// their pickles, and other compressed torch.save files as far as their streams can be listed.
//
// Ternary (640): one .xz stream around torch.save of {name: entry}. Entry types: "ternary" (5 codes a byte, first least
// significant, code + 1), "ternary_bitmask" ("not zero" bits of all codes, then "positive" bits of those; most
// significant bit first), both with "scale" (fp16, one a group of "group_size" along the input padded to
// "padded_cols"); "fp8", "fp16" ("data"). Quinary (2086), "per-stream v2": byte 3; u32 size and .xz of torch.save of
// the metadata; u32 number of payloads; each: method (0 .xz, 1 lrzip), u32 size, body. Where the ternary form has
// bytes, the metadata refers to payloads: one, or one each for Q, K and V of fused weights. Layouts: 0 torch.save of
// the value, 1 base 5 (3 codes a byte, code + 2), 2 the same by columns, 3 bit planes (zero, then negative and
// "magnitude 2" of the others), 4 the same by columns. Scales as fp16, or 2^(anchor + delta · step) with a byte a delta
// (4 bits: two a byte). In both the weight is code · scale / mean |code| of its group, in float32 (the published
// programs then round to bfloat16).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/tensor.h"

namespace par5 {

struct ForeignStream {
  std::string name;                // of the tensor, with ":Q", ":K", ":V" for parts of a fused one
  std::string what;                // "base5_T codes [1152, 576]", "float16 [576]", "74,880 bytes"
  std::string codec;               // "xz", "lrzip"; empty: inside the whole archive's codec
  std::uint64_t stored_bytes = 0;  // 0: inside the whole archive's codec
  std::uint64_t raw_bytes = 0;     // 0: not decoded
};

struct ForeignArchive {
  std::string format;  // "quinary, per-stream v2", "ternary, one .xz stream", "torch.save in zlib"
  std::vector<ForeignStream> streams;
  std::vector<std::string> dangerous;  // globals beyond data in its pickles: listed, never run
  std::vector<std::string> unread;     // "name: why": what was not decoded
  std::vector<Tensor> tensors;         // float32; filled by import_archive only, for the two published formats
};

// Names the format and lists the streams. A file that is none of these is bad_data.
Result<ForeignArchive> list_archive(std::span<const std::byte> bytes, const std::string& path);
// The same, and decodes the tensors. What cannot be decoded (lrzip payloads, unknown entry types) stands in `unread`.
Result<ForeignArchive> import_archive(std::span<const std::byte> bytes, const std::string& path);

}  // namespace par5
