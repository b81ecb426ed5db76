#include "archive/metadata.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "core/hash.h"
#include "core/text.h"

namespace par5 {
namespace {

enum ValueType : std::uint64_t { kInteger = 0, kNumber = 1, kText = 2, kBytes = 3 };
constexpr std::uint64_t kLongestValue = 1 << 16;
constexpr std::uint64_t kLongestName = 64;
constexpr std::uint64_t kMostEntries = 4096;
constexpr std::uint64_t kAnyInteger = std::uint64_t{1} << 53;

// The numbers, the defaults and the order of the enumerations are part of format version 1. They stand here as
// literals, so that a changed default in core/config.h cannot change what an old artifact means.
struct IntegerKey {
  std::uint64_t id;
  const char* name;
  std::uint64_t fallback;
  std::uint64_t largest;
  std::uint64_t (*get)(const Metadata&);
  void (*set)(Metadata&, std::uint64_t);
};
struct NumberKey {
  std::uint64_t id;
  const char* name;
  double fallback;
  double (*get)(const Metadata&);
  void (*set)(Metadata&, double);
};

#define P5_INTEGER_KEY(id, field, fallback, largest)                                                            \
  IntegerKey {                                                                                                  \
    id, #field, fallback, largest, [](const Metadata& data) { return static_cast<std::uint64_t>(data.field); }, \
        [](Metadata& data, std::uint64_t value) { data.field = static_cast<decltype(Metadata::field)>(value); } \
  }
#define P5_NUMBER_KEY(id, field, fallback)                                 \
  NumberKey {                                                              \
    id, #field, fallback, [](const Metadata& data) { return data.field; }, \
        [](Metadata& data, double value) { data.field = value; }           \
  }
// A field of one of the two configurations.
#define P5_MODEL_INTEGER(id, field, fallback, largest)                                     \
  IntegerKey {                                                                             \
    id, "model." #field, fallback, largest,                                                \
        [](const Metadata& data) { return static_cast<std::uint64_t>(data.model.field); }, \
        [](Metadata& data, std::uint64_t value) {                                          \
          data.model.field = static_cast<decltype(ModelConfig::field)>(value);             \
        }                                                                                  \
  }
#define P5_QUANTIZER_INTEGER(id, field, fallback, largest)                                     \
  IntegerKey {                                                                                 \
    id, "quantizer." #field, fallback, largest,                                                \
        [](const Metadata& data) { return static_cast<std::uint64_t>(data.quantizer.field); }, \
        [](Metadata& data, std::uint64_t value) {                                              \
          data.quantizer.field = static_cast<decltype(QuantizerConfig::field)>(value);         \
        }                                                                                      \
  }
#define P5_MODEL_NUMBER(id, field, fallback)                                              \
  NumberKey {                                                                             \
    id, "model." #field, fallback, [](const Metadata& data) { return data.model.field; }, \
        [](Metadata& data, double value) { data.model.field = value; }                    \
  }

constexpr std::uint64_t kTokenizerHash = 13, kFp8Exponents = 32, kCodecVersions = 33;

const IntegerKey kIntegerKeys[] = {
    P5_MODEL_INTEGER(1, layers, 10, kAnyInteger),
    P5_MODEL_INTEGER(2, width, 576, kAnyInteger),
    P5_MODEL_INTEGER(3, heads, 6, kAnyInteger),
    P5_MODEL_INTEGER(4, kv_heads, 3, kAnyInteger),
    P5_MODEL_INTEGER(5, mlp_width, 2304, kAnyInteger),
    P5_MODEL_INTEGER(6, vocab, 16384, kAnyInteger),
    P5_MODEL_INTEGER(7, embedding_width, 380, kAnyInteger),
    P5_MODEL_INTEGER(8, context, 1024, kAnyInteger),
    P5_QUANTIZER_INTEGER(9, grid, 2, 8),
    P5_QUANTIZER_INTEGER(10, group, 192, kAnyInteger),
    P5_QUANTIZER_INTEGER(11, granularity, 0, 2),
    P5_QUANTIZER_INTEGER(12, scale_bits, 16, 16),
    P5_INTEGER_KEY(15, tokenizer_bytes, 0, kAnyInteger),
    P5_INTEGER_KEY(16, self_test_bytes, 0, kAnyInteger),
    P5_MODEL_INTEGER(17, backbone, 0, 1),
    P5_MODEL_INTEGER(18, activation, 0, 3),
    P5_MODEL_INTEGER(19, embedding_storage, 0, 2),
    P5_MODEL_INTEGER(20, fused_qkv, 1, 1),
    P5_MODEL_INTEGER(21, vocab_bias, 1, 1),
    P5_MODEL_INTEGER(22, norm, 0, 1),
    P5_MODEL_INTEGER(23, linear_norm, 1, 2),
    P5_MODEL_INTEGER(26, rope_scaling, 1, 1),
    P5_MODEL_INTEGER(27, rope_max_context, 2048, kAnyInteger),
    P5_MODEL_INTEGER(28, rope_angles, 0, 1),
    P5_MODEL_INTEGER(29, softcap, 2, 2),
    P5_INTEGER_KEY(34, time_limited, 0, 1),
};
const NumberKey kNumberKeys[] = {
    P5_NUMBER_KEY(14, temperature, 1.0),    P5_MODEL_NUMBER(24, q_gain_init, 5.0),
    P5_MODEL_NUMBER(25, rope_base, 5000.0), P5_MODEL_NUMBER(30, softcap_value, 10.0),
    P5_MODEL_NUMBER(31, dropout, 0.0),
};

// The stored numbers of the enumerations: a new choice goes to the end of its enumeration.
template <class Choice>
constexpr bool numbered(Choice choice, int number) {
  return static_cast<int>(choice) == number;
}
static_assert(numbered(Grid::binary, 0) && numbered(Grid::ternary, 1) && numbered(Grid::quinary, 2) &&
              numbered(Grid::septenary, 3) && numbered(Grid::int4, 4) && numbered(Grid::int8, 8));
static_assert(numbered(Granularity::group, 0) && numbered(Granularity::row, 1) && numbered(Granularity::tensor, 2));
static_assert(numbered(Backbone::unet, 0) && numbered(Backbone::gpt2, 1) && numbered(Norm::rms, 0) &&
              numbered(Norm::layer, 1));
static_assert(numbered(Activation::relu2, 0) && numbered(Activation::leaky_relu2, 1) &&
              numbered(Activation::swiglu, 2) && numbered(Activation::gelu, 3));
static_assert(numbered(EmbeddingStorage::fp8, 0) && numbered(EmbeddingStorage::fp16, 1) &&
              numbered(EmbeddingStorage::quantized, 2));
static_assert(numbered(LinearNorm::none, 0) && numbered(LinearNorm::outputs, 1) && numbered(LinearNorm::all, 2));
static_assert(numbered(RopeScaling::none, 0) && numbered(RopeScaling::yarn, 1) && numbered(RopeAngles::float32, 0) &&
              numbered(RopeAngles::bfloat16, 1));
static_assert(numbered(Softcap::none, 0) && numbered(Softcap::tanh, 1) && numbered(Softcap::poly5, 2));

template <class Keys>
auto find_key(const Keys& keys, std::uint64_t id) {
  return std::find_if(std::begin(keys), std::end(keys), [id](const auto& key) { return key.id == id; });
}

std::vector<std::byte> bytes_from_hex(const std::string& text) {
  std::vector<std::byte> bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2)
    bytes.push_back(static_cast<std::byte>(std::stoi(text.substr(i, 2), nullptr, 16)));
  return bytes;
}

void write_value(ByteWriter& out, const NamedEntry::Value& value) {
  if (const auto* integer = std::get_if<std::uint64_t>(&value)) out.varint(*integer);
  if (const auto* number = std::get_if<double>(&value)) out.number(*number);
  if (const auto* text = std::get_if<std::string>(&value)) out.text(*text);
  if (const auto* bytes = std::get_if<std::vector<std::byte>>(&value)) out.counted(*bytes);
}

Result<NamedEntry::Value> read_value(ByteReader& in, std::uint64_t type) {
  switch (type) {
    case kInteger: {
      P5_TRY(const std::uint64_t integer, in.varint());
      return NamedEntry::Value(integer);
    }
    case kNumber: {
      const std::uint64_t start = in.offset();
      P5_TRY(const double number, in.number());
      if (!std::isfinite(number)) return in.error_at(start, "a number in the metadata is not finite");
      return NamedEntry::Value(number);
    }
    case kText: {
      const std::uint64_t start = in.offset();
      P5_TRY(std::string text, in.text(kLongestValue));
      if (find_invalid_utf8(text) != std::string::npos)
        return in.error_at(start, "a text in the metadata is not UTF-8");
      return NamedEntry::Value(std::move(text));
    }
    default: {
      P5_TRY(const auto bytes, in.counted(kLongestValue));
      return NamedEntry::Value(std::vector<std::byte>(bytes.begin(), bytes.end()));
    }
  }
}

// Stores a numbered key's value; the variant's index is the value's type.
Status set_key(Metadata& metadata, std::uint64_t id, const NamedEntry::Value& value, const ByteReader& in,
               std::uint64_t start) {
  const auto wrong_type = [&] {
    return in.error_at(start, "metadata key " + std::to_string(id) + " has the wrong type");
  };
  if (const auto key = find_key(kIntegerKeys, id); key != std::end(kIntegerKeys)) {
    const auto* integer = std::get_if<std::uint64_t>(&value);
    if (!integer) return wrong_type();
    if (*integer > key->largest)
      return in.error_at(
          start, std::string(key->name) + " = " + std::to_string(*integer) + " is not a value of format version 1");
    key->set(metadata, *integer);
    return {};
  }
  if (const auto key = find_key(kNumberKeys, id); key != std::end(kNumberKeys)) {
    const auto* number = std::get_if<double>(&value);
    if (!number) return wrong_type();
    key->set(metadata, *number);
    return {};
  }
  const auto* bytes = std::get_if<std::vector<std::byte>>(&value);
  const auto* text = std::get_if<std::string>(&value);
  if (id == kTokenizerHash) {
    if (!bytes || bytes->size() != 32) return wrong_type();
    metadata.tokenizer_sha256 = hex(*bytes);
  } else if (id == kFp8Exponents) {
    if (!bytes) return wrong_type();
    metadata.fp8_exponents = *bytes;
  } else if (id == kCodecVersions) {
    if (!text) return wrong_type();
    metadata.codec_versions = *text;
  } else {
    return in.error_at(start, "metadata key number " + std::to_string(id) + " does not exist in format version 1");
  }
  return {};
}

// Every value goes once through the schema's own setter, which knows the ranges, then through check_model.
Status check_values(const Metadata& metadata, const ByteReader& in) {
  LoadedConfig config;
  config.values().model = metadata.model;
  config.values().quantizer = metadata.quantizer;
  Status status;
  for (const ConfigKey& key : config_keys()) {
    if (!status || !(key.name.starts_with("model.") || key.name.starts_with("quantizer."))) continue;
    status = config.apply_assignment(key.name + "=" + config.value(key.name));
  }
  if (status) status = check_model(metadata.model, metadata.quantizer);
  if (!status) return in.error("its architecture is impossible: " + status.error().message);
  if (!(metadata.temperature > 0)) return in.error("its temperature is not positive");
  return {};
}

}  // namespace

void write_metadata(ByteWriter& out, const Metadata& metadata) {
  struct Numbered {
    NamedEntry::Value value;
    bool required = true;
  };
  std::map<std::uint64_t, Numbered> entries;
  for (const IntegerKey& key : kIntegerKeys)
    if (const std::uint64_t value = key.get(metadata); value != key.fallback) entries[key.id].value = value;
  for (const NumberKey& key : kNumberKeys)
    if (const double value = key.get(metadata); value != key.fallback) entries[key.id].value = value;
  if (!metadata.tokenizer_sha256.empty()) entries[kTokenizerHash].value = bytes_from_hex(metadata.tokenizer_sha256);
  if (!metadata.fp8_exponents.empty()) entries[kFp8Exponents].value = metadata.fp8_exponents;
  if (!metadata.codec_versions.empty()) entries[kCodecVersions] = {metadata.codec_versions, false};

  const auto tag = [](std::uint64_t id, const NamedEntry::Value& value, bool required) {
    return id << 3 | static_cast<std::uint64_t>(value.index()) << 1 | (required ? 1u : 0u);
  };
  out.varint(entries.size() + metadata.extras.size());
  for (const auto& [id, entry] : entries) {
    out.varint(tag(id, entry.value, entry.required));
    write_value(out, entry.value);
  }
  for (const NamedEntry& entry : metadata.extras) {
    out.varint(tag(0, entry.value, entry.required));
    out.text(entry.name);
    write_value(out, entry.value);
  }
}

Result<Metadata> read_metadata(ByteReader& in) {
  Metadata metadata;
  for (const IntegerKey& key : kIntegerKeys) key.set(metadata, key.fallback);
  for (const NumberKey& key : kNumberKeys) key.set(metadata, key.fallback);
  P5_TRY(const std::uint64_t count, in.varint());
  if (count > kMostEntries) return in.error("it claims " + std::to_string(count) + " metadata entries");
  std::uint64_t last_id = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t start = in.offset();
    P5_TRY(const std::uint64_t tag, in.varint());
    const std::uint64_t id = tag >> 3;
    const bool required = (tag & 1) != 0;
    if (id == 0) {
      P5_TRY(std::string name, in.text(kLongestName));
      if (name.empty() || find_invalid_utf8(name) != std::string::npos)
        return in.error_at(start, "a metadata key has no readable name");
      if (!metadata.extras.empty() && name <= metadata.extras.back().name)
        return in.error_at(start, "the metadata key '" + name + "' is repeated or out of order");
      P5_TRY(auto value, read_value(in, tag >> 1 & 3));
      if (required)
        return bad_data(
            "'" + in.path() + "' needs '" + name + "', which this version of par5 does not know; use a newer par5",
            in.path(), start, name);
      metadata.extras.push_back({std::move(name), required, std::move(value)});
      continue;
    }
    if (id <= last_id || !metadata.extras.empty())
      return in.error_at(start, "metadata key number " + std::to_string(id) + " is repeated or out of order");
    last_id = id;
    P5_TRY(const auto value, read_value(in, tag >> 1 & 3));
    P5_OK(set_key(metadata, id, value, in, start));
  }
  P5_OK(check_values(metadata, in));
  return metadata;
}

}  // namespace par5
