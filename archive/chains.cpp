#include "archive/chains.h"

#include <algorithm>
#include <string_view>

#include "archive/coder/half.h"

namespace par5 {
namespace {

constexpr std::size_t kDeltaHead = 4;  // anchor and step of a tensor before a chain of deltas, fp16 each

// What a matrix does in its layer decides which matrices resemble it.
enum class Role { query, key, value, attention_out, mlp_in, mlp_out, other };

// `name` is that of a tensor part: "blocks.0.attn.c_qkv.weight:v".
Role role_of(std::string_view name) {
  const auto has = [name](std::string_view text) { return name.find(text) != std::string_view::npos; };
  if (has("attn.")) {
    if (name.ends_with(":q") || has(".c_q.")) return Role::query;
    if (name.ends_with(":k") || has(".c_k.")) return Role::key;
    if (name.ends_with(":v") || has(".c_v.")) return Role::value;
    return Role::attention_out;
  }
  if (has("mlp.")) return has("proj.") ? Role::mlp_out : Role::mlp_in;
  return Role::other;
}

// Rows of the matrices that write to the residual stream lie in its space only after transposing.
bool writes_residual(Role role) { return role == Role::attention_out || role == Role::mlp_out; }

std::string part_of(const StreamSlot& slot, const StoredModel& model) {
  return model.tensors[slot.tensor].spec.name + slot.part_label.substr(part_name(slot.part).size());
}

// The sum of |code| over each column of the matrix that reads what this one of the same layer writes:
// "blocks.0.mlp.fc.weight" is read by "blocks.0.mlp.proj.weight".
std::vector<std::uint32_t> reader_sums(const StoredModel& model, std::string_view name) {
  const std::size_t block =
      name.find('.', name.find("attn.") != std::string_view::npos ? name.find("attn.") : name.find("mlp."));
  const std::string prefix(name.substr(0, block + 1));
  const StoredTensor* reader = model.find(prefix + "proj.weight");
  if (!reader) reader = model.find(prefix + "c_proj.weight");
  const auto* quantized = reader ? std::get_if<QuantizedTensor>(&reader->data) : nullptr;
  if (!quantized || quantized->codes.empty()) return {};
  std::vector<std::uint32_t> sums(static_cast<std::size_t>(reader->spec.shape[1]), 0);
  for (std::size_t i = 0; i < quantized->codes.size(); i += sums.size())
    for (std::size_t c = 0; c < sums.size(); ++c)
      sums[c] += static_cast<std::uint32_t>(std::abs(int{quantized->codes[i + c]}));
  return sums;
}

// What the codes say of the scales of a part's rows, one number a row: a hidden unit that is read with large weights is
// written with large weights, and so is a channel of a value head.
std::vector<std::int16_t> known_of_rows(const StoredModel& model, const TensorPart& part) {
  std::vector<std::int16_t> known(static_cast<std::size_t>(part.rows), 0);
  const Role role = role_of(part.name);
  if (role != Role::mlp_in && role != Role::value) return known;
  const std::vector<std::uint32_t> sums = reader_sums(model, part.name);
  if (sums.empty()) return known;
  const auto width = static_cast<std::size_t>(model.model.head_width());
  const auto readers = static_cast<std::size_t>(model.model.heads / model.model.kv_heads);
  for (std::size_t i = 0; i < known.size(); ++i) {
    std::uint32_t sum = 0;
    if (role == Role::mlp_in) {
      sum = sums[i % sums.size()];
    } else {
      for (std::size_t k = 0; k < readers; ++k) sum += sums[(i / width * readers + k) * width + i % width];
    }
    known[i] = coder::known_log2(sum);
  }
  return known;
}

coder::Alphabet alphabet_of(Grid grid) { return {coder::Alphabet::Kind::grid, max_code(grid), grid != Grid::binary}; }

std::size_t count_of(const StreamSlot& slot) { return static_cast<std::size_t>(element_count(slot.shape)); }

template <class T>
std::span<T> rows_of(std::span<T> values, const StreamSlot& slot) {
  return values.subspan(static_cast<std::size_t>(slot.first_row * slot.shape[1]), count_of(slot));
}

// The matrices that make up a chain, in order: a stream is one, but for the scales of a fused matrix.
struct Member {
  std::size_t slot = 0;
  coder::ChainPart part;            // codes: left empty here
  std::vector<std::int16_t> known;  // what part.known shows
};

std::vector<Member> members_of(const StoredModel& model, std::span<const StreamSlot> slots, ChainKind kind) {
  std::vector<Member> members;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const StreamSlot& slot = slots[i];
    Member member{i, {slot.shape[0], slot.shape[1], false, {}, {}, 0}, {}};
    if (kind == ChainKind::fp8 || kind == ChainKind::codes) {
      member.part.transposed = coded_by_columns(slot, model);
      member.part.partner_distance = partner_distance(slot, model);
    } else if (model.quantizer.granularity != Granularity::tensor) {
      for (const TensorPart& rows : tensor_parts(model.tensors[slot.tensor].spec, model.model)) {
        members.push_back({i, {rows.rows, slot.shape[1], false, {}, {}, 0}, known_of_rows(model, rows)});
        members.back().part.known = members.back().known;
      }
      continue;
    }
    members.push_back(std::move(member));
  }
  return members;
}

coder::Alphabet alphabet_of(const StoredModel& model, ChainKind kind) {
  if (kind == ChainKind::codes) return alphabet_of(model.quantizer.grid);
  if (kind == ChainKind::fp8) return {coder::Alphabet::Kind::fp8, 0, true};
  return {coder::Alphabet::Kind::grid, 1 << (model.quantizer.scale_bits - 1), true};
}

bool holds_halves(const StoredModel& model, ChainKind kind) {
  return kind == ChainKind::fp16 || (kind == ChainKind::scales && model.quantizer.scale_bits == 16);
}

// The kind of a chain's streams, which are all of one.
ChainKind kind_of(const StoredModel& model, const StreamSlot& slot) {
  if (slot.part == Part::codes) return ChainKind::codes;
  if (slot.part == Part::scales) return ChainKind::scales;
  return model.tensors[slot.tensor].spec.storage == Storage::fp8 ? ChainKind::fp8 : ChainKind::fp16;
}

std::vector<std::uint64_t> by_slot(std::span<const Member> members, const std::vector<std::uint64_t>& part_bytes,
                                   std::size_t slots) {
  std::vector<std::uint64_t> bytes(slots, 0);
  for (std::size_t i = 0; i < members.size(); ++i) bytes[members[i].slot] += part_bytes[i];
  return bytes;
}

Result<EncodedSlots> encode_half_chain(const StoredModel& model, std::span<const StreamSlot> slots) {
  std::vector<std::span<const std::uint16_t>> vectors;
  for (const StreamSlot& slot : slots) {
    const StoredTensor& tensor = model.tensors[slot.tensor];
    if (const auto* quantized = std::get_if<QuantizedTensor>(&tensor.data))
      vectors.push_back(quantized->scales);
    else
      vectors.push_back(std::get<Fp16Tensor>(tensor.data).codes);
  }
  EncodedSlots encoded;
  encoded.bytes = coder::encode_halves(vectors, &encoded.slot_bytes);
  return encoded;
}

Result<DecodedSlots> decode_half_chain(std::span<const StreamSlot> slots, std::span<const std::byte> bytes) {
  std::vector<std::vector<std::uint16_t>> values;
  for (const StreamSlot& slot : slots) values.emplace_back(count_of(slot));
  const std::vector<std::span<std::uint16_t>> outputs(values.begin(), values.end());
  DecodedSlots decoded;
  P5_TRY(decoded.slot_bytes, coder::decode_halves(bytes, outputs));
  for (const auto& vector : values)
    for (const std::uint16_t value : vector) {
      decoded.raw.push_back(static_cast<std::uint8_t>(value & 255));
      decoded.raw.push_back(static_cast<std::uint8_t>(value >> 8));
    }
  return decoded;
}

}  // namespace

ChainKind chain_kind(const StreamSlot& slot, const std::vector<TensorSpec>& specs) {
  switch (slot.part) {
    case Part::codes:
      return ChainKind::codes;
    case Part::scales:
      return ChainKind::scales;
    case Part::values:
      return specs[slot.tensor].storage == Storage::fp8 ? ChainKind::fp8 : ChainKind::fp16;
    default:
      return ChainKind::bytes;
  }
}

bool coded_by_columns(const StreamSlot& slot, const StoredModel& model) {
  if (slot.part != Part::codes) return slot.shape[1] > slot.shape[0];
  return writes_residual(role_of(part_of(slot, model)));
}

std::int64_t partner_distance(const StreamSlot& slot, const StoredModel& model) {
  if (slot.part != Part::codes) return 0;
  const Role role = role_of(part_of(slot, model));
  const bool by_head = role == Role::query || role == Role::attention_out;
  return by_head && model.model.kv_heads < model.model.heads && model.model.head_width() < 1024
             ? model.model.head_width()
             : 0;
}

// Small models need what their matrices learn from each other. Large ones learn enough from a few, and decode in more
// chains at a time.
int usual_chain(const StreamSlot& slot, const StoredModel& model) {
  if (slot.part == Part::tokenizer || slot.part == Part::self_test) return slot.part == Part::tokenizer ? 0 : 1;
  constexpr std::int64_t kLargeModel = std::int64_t{1} << 22;  // values of this kind
  std::int64_t values = 0;
  for (const StoredTensor& tensor : model.tensors)
    if (tensor.spec.storage == model.tensors[slot.tensor].spec.storage) values += element_count(tensor.spec.shape);
  const bool large = values >= kLargeModel;
  if (slot.part == Part::values) return large && 2 * element_count(slot.shape) < values ? 1 : 0;
  if (slot.part != Part::codes) return 0;
  const Role role = role_of(part_of(slot, model));
  if (!large) return writes_residual(role) ? 1 : 0;
  return role == Role::attention_out ? 1 : role == Role::mlp_in ? 2 : role == Role::mlp_out ? 3 : 0;
}

Result<EncodedSlots> encode_chain(const StoredModel& model, std::span<const StreamSlot> slots,
                                  const coder::ChainOptions& options) {
  const ChainKind kind = kind_of(model, slots[0]);
  if (holds_halves(model, kind)) return encode_half_chain(model, slots);
  std::vector<Member> members = members_of(model, slots, kind);
  EncodedSlots encoded;
  std::size_t used = 0;
  for (std::size_t i = 0; i < members.size(); ++i) {
    const StreamSlot& slot = slots[members[i].slot];
    const StoredTensor& tensor = model.tensors[slot.tensor];
    if (i == 0 || members[i].slot != members[i - 1].slot) used = 0;
    coder::ChainPart& part = members[i].part;
    const auto count = static_cast<std::size_t>(part.rows * part.columns);
    if (kind == ChainKind::codes) {
      part.codes = rows_of(std::span(std::get<QuantizedTensor>(tensor.data).codes), slot);
    } else if (kind == ChainKind::fp8) {
      const auto& codes = std::get<Fp8Tensor>(tensor.data).codes;
      part.codes = {reinterpret_cast<const std::int8_t*>(codes.data()), codes.size()};
    } else {
      const ScaleDeltas& deltas = *std::get<QuantizedTensor>(tensor.data).deltas;
      part.codes = std::span(deltas.deltas).subspan(used, count);
      if (used == 0)
        for (const unsigned half : {deltas.anchor, deltas.step})
          for (const unsigned byte : {half & 255u, half >> 8u}) encoded.bytes.push_back(static_cast<std::byte>(byte));
    }
    used += count;
  }
  std::vector<coder::ChainPart> parts;
  for (const Member& member : members) parts.push_back(member.part);
  P5_TRY(const coder::EncodedChain chain, coder::encode_chain(alphabet_of(model, kind), parts, options));
  encoded.slot_bytes = by_slot(members, chain.part_bytes, slots.size());
  if (kind == ChainKind::scales)
    for (std::uint64_t& bytes : encoded.slot_bytes) bytes += kDeltaHead;
  encoded.bytes.insert(encoded.bytes.end(), chain.bytes.begin(), chain.bytes.end());
  return encoded;
}

Result<DecodedSlots> decode_chain(const StoredModel& model, std::span<const StreamSlot> slots,
                                  std::span<const std::byte> bytes) {
  const ChainKind kind = kind_of(model, slots[0]);
  if (holds_halves(model, kind)) return decode_half_chain(slots, bytes);
  const std::vector<Member> members = members_of(model, slots, kind);
  const std::size_t head = kind == ChainKind::scales ? kDeltaHead * slots.size() : 0;
  if (bytes.size() < head) return bad_data("a chain of scales lacks its anchors and steps");
  std::vector<coder::PartShape> shapes;
  std::vector<std::vector<std::int8_t>> codes;
  for (const Member& member : members) {
    shapes.push_back({member.part.rows, member.part.columns, member.known});
    codes.emplace_back(static_cast<std::size_t>(member.part.rows * member.part.columns));
  }
  const std::vector<std::span<std::int8_t>> outputs(codes.begin(), codes.end());
  const coder::Alphabet alphabet = alphabet_of(model, kind);
  DecodedSlots decoded;
  P5_TRY(const auto part_bytes, coder::decode_chain(alphabet, bytes.subspan(head), shapes, outputs));
  decoded.slot_bytes = by_slot(members, part_bytes, slots.size());
  for (std::size_t i = 0; i < members.size(); ++i) {
    if (kind == ChainKind::scales && (i == 0 || members[i].slot != members[i - 1].slot)) {
      decoded.slot_bytes[members[i].slot] += kDeltaHead;
      for (const std::byte byte : bytes.subspan(kDeltaHead * members[i].slot, kDeltaHead))
        decoded.raw.push_back(std::to_integer<std::uint8_t>(byte));
    }
    // As in Layout::bytes: counted from 0.
    const int offset = alphabet.is_fp8() ? 0 : alphabet.max_code;
    for (const std::int8_t code : codes[i])
      decoded.raw.push_back(
          static_cast<std::uint8_t>(alphabet.has_zero ? (alphabet.is_fp8() ? code & 255 : code + offset) : code > 0));
    codes[i] = {};
  }
  return decoded;
}

}  // namespace par5
