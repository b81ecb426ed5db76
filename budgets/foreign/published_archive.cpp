#include "budgets/foreign/published_archive.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>

#include "budgets/foreign/decode.h"
#include "budgets/foreign/low_bit_codes.h"
#include "budgets/foreign/torch_file.h"
#include "core/file.h"
#include "core/half.h"
#include "core/text.h"

namespace par5 {
namespace {

constexpr std::string_view kLayoutNames[] = {"torch.save", "base5", "base5_T", "bitmask", "bitmask_T"};

// A payload of the quinary archive.
struct Payload {
  std::string codec;
  std::uint64_t stored_bytes = 0;
  std::optional<std::string> content;  // nothing: not decoded
  std::string why;
};

// bytes, also as pickles of protocol 2 spell them: _codecs.encode("…", "latin1").
std::optional<std::string> bytes_value(const PickleDocument& document, const PickleNode& node) {
  if (node.kind == PickleKind::bytes) return std::string(node.text);
  if (node.kind != PickleKind::call || document.at(node.items[0]).text != "_codecs.encode") return std::nullopt;
  const PickleNode& arguments = document.at(node.items[1]);
  if (arguments.items.empty() || document.at(arguments.items[0]).kind != PickleKind::string) return std::nullopt;
  const std::string_view utf8 = document.at(arguments.items[0]).text;
  std::string out;
  for (std::size_t i = 0; i < utf8.size(); ++i) {
    const auto c = static_cast<unsigned char>(utf8[i]);
    if (c < 0x80) {
      out += utf8[i];
    } else if ((c == 0xc2 || c == 0xc3) && i + 1 < utf8.size()) {
      out += static_cast<char>((c & 3) << 6 | (static_cast<unsigned char>(utf8[++i]) & 63));
    } else {
      return std::nullopt;
    }
  }
  return out;
}

std::string describe_tensor(const TorchTensor& tensor) {
  return std::string(dtype_name(tensor.dtype)) + " " + to_string(tensor.shape);
}
std::uint64_t tensor_bytes(const TorchTensor& tensor) {
  return static_cast<std::uint64_t>(element_count(tensor.shape)) * bytes_per_element(tensor.dtype);
}

// Reads {name: entry} of either format, with the payloads that the quinary one refers to.
class EntryReader {
 public:
  EntryReader(const TorchFile& file, const std::vector<Payload>& payloads, ForeignArchive& archive, bool import)
      : file_(file), document_(file.document), payloads_(payloads), archive_(archive), import_(import) {}

  void read_all() {
    const PickleNode& root = document_.at(document_.root);
    for (std::size_t i = root.kind == PickleKind::call ? 2 : 0; i + 1 < root.items.size(); i += 2) {
      const PickleNode& key = document_.at(root.items[i]);
      if (key.kind != PickleKind::string) continue;
      name_ = key.text;
      if (Status status = entry(document_.at(root.items[i + 1])); !status)
        archive_.unread.push_back(name_ + ": " + status.error().message);
    }
  }

 private:
  const PickleNode* field(const PickleNode& entry, std::string_view key) const { return document_.find(entry, key); }
  Result<std::uint64_t> number(const PickleNode& entry, std::string_view key) const {
    const PickleNode* node = field(entry, key);
    if (!node || node->kind != PickleKind::integer || node->integer < 0 || node->integer > (std::int64_t{1} << 40))
      return bad_data("its '" + std::string(key) + "' is missing or no number");
    return static_cast<std::uint64_t>(node->integer);
  }
  PickleIndex index_of(const PickleNode& node) const {
    return static_cast<PickleIndex>(&node - document_.nodes.data());
  }

  Status entry(const PickleNode& entry) {
    const PickleNode* type = field(entry, "type");
    if (!type || type->kind != PickleKind::string) return bad_data("an entry without a type");
    if (type->text == "ternary" || type->text == "ternary_bitmask" || type->text == "quinary")
      return quantized(entry, std::string(type->text));
    if (type->text == "fp8" || type->text == "fp16") return plain(entry);
    return bad_data("the entry type '" + std::string(type->text) + "' is not read");
  }

  // A tensor stored as it is, in the metadata or as a payload of its own.
  Result<std::vector<float>> floats(const PickleNode& entry, std::string_view key, Shape* shape, bool list) {
    const PickleNode* node = field(entry, key);
    if (!node) return bad_data("it has no '" + std::string(key) + "'");
    if (auto tensor = file_.tensor_at(index_of(*node))) {
      if (list) archive_.streams.push_back({name_, describe_tensor(*tensor), "", 0, tensor_bytes(*tensor)});
      return values(*tensor, shape);
    }
    P5_TRY(const std::uint64_t which, number(*node, "idx"));
    P5_TRY(const Payload* payload, payload_at(which));
    if (!payload->content) {
      archive_.streams.push_back({name_, std::string(kLayoutNames[0]), payload->codec, payload->stored_bytes, 0});
      return bad_data(payload->why);
    }
    P5_TRY(const TorchFile inner, read_torch_file(as_bytes(*payload->content), name_));
    archive_.dangerous.insert(archive_.dangerous.end(), inner.dangerous.begin(), inner.dangerous.end());
    const auto tensor = inner.tensor_at(inner.document.root);
    if (!tensor) return bad_data("its payload is no tensor");
    archive_.streams.push_back(
        {name_, describe_tensor(*tensor), payload->codec, payload->stored_bytes, payload->content->size()});
    return values(*tensor, shape);
  }
  static Result<std::vector<float>> values(const TorchTensor& tensor, Shape* shape) {
    P5_TRY(Tensor copy, tensor.copy());
    if (shape) *shape = copy.shape;
    if (copy.dtype == DType::uint8 || copy.dtype == DType::int8) {
      std::vector<float> out;
      for (const std::byte byte : copy.data)
        out.push_back(copy.dtype == DType::uint8 ? static_cast<float>(std::to_integer<int>(byte))
                                                 : static_cast<float>(static_cast<std::int8_t>(byte)));
      return out;
    }
    return to_floats(copy.view());
  }

  Status plain(const PickleNode& entry) {
    Shape shape;
    P5_TRY(const std::vector<float> data, floats(entry, "data", &shape, true));
    if (import_) archive_.tensors.push_back(Tensor::from_floats(name_, shape, data));
    return {};
  }

  Result<const Payload*> payload_at(std::uint64_t index) const {
    if (index >= payloads_.size())
      return bad_data("it refers to payload " + std::to_string(index) + " of " + std::to_string(payloads_.size()));
    return &payloads_[index];
  }

  // The codes that one reference of the quinary format names, rows · columns of them, row by row.
  Result<std::vector<std::int8_t>> referred(const PickleNode& reference, const std::string& part) {
    P5_TRY(const std::uint64_t which, number(reference, "idx"));
    P5_TRY(const std::uint64_t layout, number(reference, "layout"));
    P5_TRY(const std::uint64_t rows, number(reference, "rows"));
    P5_TRY(const std::uint64_t columns, number(reference, "cols"));
    P5_TRY(const Payload* payload, payload_at(which));
    if (layout < 1 || layout > 4) return bad_data("its layout " + std::to_string(layout) + " is not known");
    archive_.streams.push_back(
        {name_ + part,
         std::string(kLayoutNames[layout]) + " codes [" + std::to_string(rows) + ", " + std::to_string(columns) + "]",
         payload->codec, payload->stored_bytes, payload->content ? payload->content->size() : 0});
    if (!payload->content) return bad_data(payload->why);
    if (rows > (1u << 30) || columns > (1u << 30)) return bad_data("its size is out of bounds");
    P5_TRY(auto codes, layout <= 2 ? codes_from_base(*payload->content, 5, rows * columns)
                                   : codes_from_quinary_planes(*payload->content, rows * columns));
    return layout % 2 == 0 ? from_columns(codes, rows, columns) : codes;
  }

  Result<std::vector<std::int8_t>> codes(const PickleNode& entry, const std::string& type, std::uint64_t count) {
    const PickleNode* packed = field(entry, "packed");
    if (!packed) return bad_data("it has no 'packed'");
    if (const auto bytes = bytes_value(document_, *packed)) {
      archive_.streams.push_back(
          {name_, type + " codes, " + grouped(static_cast<std::int64_t>(count)), "", 0, bytes->size()});
      if (type == "ternary_bitmask") return codes_from_ternary_planes(*bytes, count);
      return codes_from_base(*bytes, type == "ternary" ? 3 : 5, count);
    }
    if (packed->kind == PickleKind::dict) return referred(*packed, "");
    if (packed->kind != PickleKind::tuple || packed->items.size() != 2)
      return bad_data("its codes are stored in a way that is not read");
    const PickleNode& parts = document_.at(packed->items[1]);
    std::vector<std::int8_t> all;
    Error first;
    for (std::size_t i = 0; i < parts.items.size() && i < 3; ++i) {
      const auto part = referred(document_.at(parts.items[i]), std::string(":") + "QKV"[i]);
      if (part)
        all.insert(all.end(), part->begin(), part->end());
      else if (first.message.empty())
        first = part.error();
    }
    if (!first.message.empty()) return tl::unexpected(first);
    return all;
  }

  // One scale a group: fp16, or exponents in steps from an anchor.
  Result<std::vector<float>> scales(const PickleNode& entry) {
    if (field(entry, "scale")) return floats(entry, "scale", nullptr, true);
    P5_TRY(const std::vector<float> anchor, floats(entry, "scale_anchor", nullptr, false));
    P5_TRY(const std::vector<float> step, floats(entry, "scale_step", nullptr, false));
    P5_TRY(std::vector<float> deltas, floats(entry, "scale_delta", nullptr, true));
    P5_TRY(const std::uint64_t bits, number(entry, "scale_bits"));
    P5_TRY(const std::uint64_t groups, number(entry, "scale_n_groups"));
    if (anchor.size() != 1 || step.size() != 1 || (bits != 4 && bits != 5 && bits != 8))
      return bad_data("its scales are stored in a way that is not read");
    if (bits == 4) {
      std::vector<float> nibbles;
      for (const float pair : deltas) {
        nibbles.push_back(static_cast<float>(static_cast<int>(pair) & 15));
        nibbles.push_back(static_cast<float>(static_cast<int>(pair) >> 4));
      }
      nibbles.resize(std::min<std::size_t>(nibbles.size(), groups));
      deltas = std::move(nibbles);
    }
    if (deltas.size() != groups)
      return bad_data("it has " + std::to_string(deltas.size()) + " scales for " + std::to_string(groups) + " groups");
    const float half = bits == 8 ? 0.0f : static_cast<float>(1 << (bits - 1));
    for (float& delta : deltas) delta = round_to_half(std::exp2(anchor[0] + (delta - half) * step[0]));
    return deltas;
  }

  Status quantized(const PickleNode& entry, const std::string& type) {
    const PickleNode* shape = field(entry, "shape");
    P5_TRY(const std::uint64_t padded, number(entry, "padded_cols"));
    P5_TRY(const std::uint64_t group, number(entry, "group_size"));
    if (!shape || shape->items.size() != 2) return bad_data("its shape is not that of a matrix");
    const std::int64_t rows = document_.at(shape->items[0]).integer, columns = document_.at(shape->items[1]).integer;
    constexpr std::int64_t kMost = std::int64_t{1} << 30;
    if (rows <= 0 || columns <= 0 || rows > kMost || columns > kMost || group == 0 ||
        padded < static_cast<std::uint64_t>(columns) || padded % group || padded > static_cast<std::uint64_t>(kMost))
      return bad_data("its shape, padding and group do not fit each other");
    const std::uint64_t count = static_cast<std::uint64_t>(rows) * padded;
    auto decoded = codes(entry, type, count);
    auto scale = scales(entry);
    if (!decoded) return tl::unexpected(decoded.error());
    if (!scale) return tl::unexpected(scale.error());
    if (decoded->size() != count || scale->size() * group != count)
      return bad_data("its codes and scales do not fit its shape");
    if (import_)
      archive_.tensors.push_back(
          Tensor::from_floats(name_, {rows, columns},
                              weights_from_codes(*decoded, *scale, static_cast<std::uint64_t>(rows),
                                                 static_cast<std::uint64_t>(columns), padded, group)));
    return {};
  }

  const TorchFile& file_;
  const PickleDocument& document_;
  const std::vector<Payload>& payloads_;
  ForeignArchive& archive_;
  bool import_;
  std::string name_;
};

std::string_view characters(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The quinary archive; nothing where the bytes do not have its shape.
Result<std::optional<ForeignArchive>> read_per_stream(std::string_view bytes, const std::string& path, bool import) {
  if (bytes.empty() || bytes[0] != 3) return std::nullopt;
  std::size_t at = 1;
  const auto u32 = [&]() -> std::optional<std::uint32_t> {
    if (bytes.size() - at < 4) return std::nullopt;
    std::uint32_t value = 0;
    for (int i = 0; i < 4; ++i)
      value |= static_cast<std::uint32_t>(static_cast<unsigned char>(bytes[at + static_cast<std::size_t>(i)]))
               << (8 * i);
    at += 4;
    return value;
  };
  const auto take = [&](std::uint32_t size) -> std::optional<std::string_view> {
    if (size > bytes.size() - at) return std::nullopt;
    at += size;
    return bytes.substr(at - size, size);
  };
  const auto metadata_size = u32();
  const auto metadata = metadata_size ? take(*metadata_size) : std::nullopt;
  if (!metadata || !metadata->starts_with("\xfd"
                                          "7zXZ"))
    return std::nullopt;
  auto pickled = decode_lzma(*metadata);
  if (!pickled) return tl::unexpected(pickled.error().in_file(path));
  const auto count = u32();
  if (!count) return bad_data("'" + path + "' ends before its payloads", path, at);
  std::vector<Payload> payloads;
  std::uint64_t room = std::uint64_t{1} << 30;  // of all payloads together, decoded
  for (std::uint32_t i = 0; i < *count; ++i) {
    const auto method = take(1);
    const auto size = method ? u32() : std::nullopt;
    const auto body = size ? take(*size) : std::nullopt;
    if (!body)
      return bad_data("'" + path + "' ends inside payload " + std::to_string(i) + " of " + std::to_string(*count), path,
                      at);
    Payload payload{(*method)[0] == 0   ? "xz"
                    : (*method)[0] == 1 ? "lrzip"
                                        : "method " + std::to_string(static_cast<unsigned char>((*method)[0])),
                    body->size(),
                    {},
                    {}};
    if (payload.codec == "xz") {
      auto content = decode_lzma(*body, std::nullopt, std::min(room, kMostDecodedBytes));
      if (content) {
        room -= content->size();
        payload.content = std::move(*content);
      } else {
        payload.why = content.error().message;
      }
    } else {
      payload.why =
          "payload " + std::to_string(i) + " is compressed by " + payload.codec + ", which par5 does not decode";
    }
    payloads.push_back(std::move(payload));
  }
  P5_TRY(const TorchFile file, read_torch_file(as_bytes(*pickled), path));
  ForeignArchive archive;
  archive.format = "quinary, per-stream v2";
  archive.dangerous = file.dangerous;
  archive.streams.push_back({"metadata", "torch.save", "xz", metadata->size(), pickled->size()});
  EntryReader(file, payloads, archive, import).read_all();
  if (at != bytes.size())
    archive.unread.push_back(std::to_string(bytes.size() - at) + " bytes behind the last payload");
  return archive;
}

// torch.save in any codec: the ternary format is decoded, everything else listed.
Result<ForeignArchive> read_wrapped(std::string_view bytes, const std::string& path, bool import) {
  std::string codec, content;
  if (bytes.starts_with("\xfd"
                        "7zXZ")) {
    codec = ".xz";
    P5_TRY(content, decode_lzma(bytes));
  } else if (bytes.starts_with("\x28\xb5\x2f\xfd")) {
    codec = "zstd";
    P5_TRY(content, decode_zstd(bytes));
  } else if (bytes.starts_with("\x1f\x8b")) {
    codec = "gzip";
    P5_TRY(content, decode_deflate(bytes, DeflateForm::gzip));
  } else if (bytes.starts_with("\x78")) {
    codec = "zlib";
    P5_TRY(content, decode_deflate(bytes, DeflateForm::zlib));
  } else if (looks_like_zip(as_bytes(bytes))) {
    content = bytes;
  } else if (auto decoded = decode_brotli(bytes);
             decoded && looks_like_zip(as_bytes(*decoded))) {  // brotli has no mark of its own
    codec = "brotli";
    content = std::move(*decoded);
  } else {
    return bad_data("'" + path +
                        "' is no archive that par5 knows: not .par5, not torch.save in xz, zstd, gzip, zlib or brotli, "
                        "not a per-stream archive",
                    path, 0);
  }
  P5_TRY(const TorchFile file, read_torch_file(as_bytes(content), path));
  ForeignArchive archive;
  archive.dangerous = file.dangerous;
  const PickleNode& root = file.document.at(file.document.root);
  const bool entries = std::any_of(root.items.begin(), root.items.end(), [&](PickleIndex item) {
    const PickleNode* type = file.document.find(file.document.at(item), "type");
    return type && type->text.starts_with("ternary");
  });
  archive.format = entries ? "ternary, torch.save in one " + codec + " stream"
                           : "torch.save" + (codec.empty() ? "" : " in " + codec);
  if (entries) {
    EntryReader(file, {}, archive, import).read_all();
    return archive;
  }
  for (const TorchTensor& tensor : file.tensors)
    archive.streams.push_back({tensor.name, describe_tensor(tensor), "", 0, tensor_bytes(tensor)});
  archive.unread = file.skipped;
  if (import)
    return bad_data("'" + path + "' is " + archive.format +
                        ": its tensors' meaning is not documented, so they are listed and not imported",
                    path);
  return archive;
}

Result<ForeignArchive> read(std::span<const std::byte> bytes, const std::string& path, bool import) {
  P5_TRY(auto per_stream, read_per_stream(characters(bytes), path, import));
  if (per_stream) return std::move(*per_stream);
  auto wrapped = read_wrapped(characters(bytes), path, import);
  if (!wrapped) return tl::unexpected(wrapped.error().in_file(path));
  return wrapped;
}

}  // namespace

Result<ForeignArchive> list_archive(std::span<const std::byte> bytes, const std::string& path) {
  return read(bytes, path, false);
}
Result<ForeignArchive> import_archive(std::span<const std::byte> bytes, const std::string& path) {
  return read(bytes, path, true);
}

}  // namespace par5
