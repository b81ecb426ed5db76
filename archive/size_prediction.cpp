#include "archive/size_prediction.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <map>
#include <string>

#include "archive/chains.h"
#include "archive/choice.h"
#include "archive/container.h"
#include "archive/encoder.h"
#include "core/parallel.h"
#include "pack/statistics.h"

namespace par5 {
namespace {

constexpr double kStartBytes = 600;  // what learning costs where there are no correlations
constexpr double kFloatWork = 2.3;   // time that an fp8 value takes, in that of a quantised weight
constexpr std::size_t kByteValues = 256;

std::int64_t count_of(const StreamSlot& slot) { return element_count(slot.shape); }

// The codes of a slot of codes or fp8 values, row-major.
std::span<const std::int8_t> codes_of(const StoredModel& model, const StreamSlot& slot) {
  const StoredTensor& tensor = model.tensors[slot.tensor];
  if (const auto* fp8 = std::get_if<Fp8Tensor>(&tensor.data))
    return {reinterpret_cast<const std::int8_t*>(fp8->codes.data()), fp8->codes.size()};
  return std::span(std::get<QuantizedTensor>(tensor.data).codes)
      .subspan(static_cast<std::size_t>(slot.first_row * slot.shape[1]), static_cast<std::size_t>(count_of(slot)));
}

// ---- the closed form ----

// A code whose magnitude classes have a Dirichlet-multinomial distribution of their own in every column (or row), with
// a prior of so many symbols that is the matrix's distribution.
struct AdaptiveCode {
  bool by_column = true;
  double prior = 0;
};
constexpr std::array kPriors = {4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 65536.0};

class ClassCounts {
 public:
  ClassCounts(const StoredModel& model, const StreamSlot& slot) {
    const bool is_fp8 = std::holds_alternative<Fp8Tensor>(model.tensors[slot.tensor].data);
    std::array<std::uint8_t, kByteValues> class_of{};
    for (int code = -128; code < 128; ++code) {
      const int magnitude = is_fp8 ? (code & 255) >> 3 & 15 : std::abs(code);  // fp8: the exponent field
      class_of[static_cast<std::size_t>(code & 255)] = static_cast<std::uint8_t>(magnitude);
    }
    classes_ = is_fp8 ? 16 : static_cast<std::size_t>(max_code(model.quantizer.grid)) + 1;
    const auto rows = static_cast<std::size_t>(slot.shape[0]), columns = static_cast<std::size_t>(slot.shape[1]);
    by_column_.resize(columns * classes_);
    by_row_.resize(rows * classes_);
    const auto codes = codes_of(model, slot);
    for (std::size_t r = 0; r < rows; ++r) {
      std::uint32_t* const row = &by_row_[r * classes_];
      for (std::size_t c = 0; c < columns; ++c) {
        const std::size_t code = static_cast<std::uint8_t>(codes[r * columns + c]);
        ++row[class_of[code]];
        ++by_column_[c * classes_ + class_of[code]];
        ++symbols_[code];
      }
    }
    totals_.assign(classes_, 0);
    for (std::size_t i = 0; i < by_row_.size(); ++i) totals_[i % classes_] += by_row_[i];
    count_ = static_cast<double>(codes.size());
  }

  // Of all symbols: their classes by `code`, the rest (signs, mantissas) by order-0.
  double bytes(const AdaptiveCode& code) const {
    return class_bytes(code.by_column ? by_column_ : by_row_, code.prior) + order0_bytes(std::span(symbols_)) -
           order0_bytes(std::span(totals_));
  }
  AdaptiveCode best() const {
    AdaptiveCode best;
    double least = INFINITY;
    for (const bool by_column : {true, false})
      for (const double prior : kPriors)
        if (const double taken = class_bytes(by_column ? by_column_ : by_row_, prior); taken < least) {
          least = taken;
          best = {by_column, prior};
        }
    return best;
  }

 private:
  double class_bytes(const std::vector<std::uint32_t>& counts, double prior) const {
    std::vector<double> expected(classes_), start(classes_);
    for (std::size_t k = 0; k < classes_; ++k) {
      expected[k] = prior * (static_cast<double>(totals_[k]) + 0.5) / (count_ + 0.5 * static_cast<double>(classes_));
      start[k] = std::lgamma(expected[k]);
    }
    const double start_all = std::lgamma(prior);
    double nats = 0;
    for (std::size_t line = 0; line < counts.size(); line += classes_) {
      double sum = 0;
      for (std::size_t k = 0; k < classes_; ++k) {
        const double here = counts[line + k];
        if (here == 0) continue;
        sum += here;
        nats -= std::lgamma(expected[k] + here) - start[k];
      }
      nats += std::lgamma(prior + sum) - start_all;
    }
    return nats / std::log(2.0) / 8;
  }

  std::size_t classes_ = 0;
  double count_ = 0;
  std::vector<std::uint32_t> by_column_, by_row_;
  std::array<std::uint64_t, kByteValues> symbols_{};
  std::vector<std::uint64_t> totals_;
};

// ---- the sample ----

struct Sample {
  StoredModel model;
  std::vector<StreamSlot> slots;
};

// About `share` of the rows (of the columns, where a matrix is coded by columns) of every matrix, evenly spaced. Rows
// that the coder compares with one another, those of different heads, keep their places in their heads.
Sample thin(const StoredModel& model, std::span<const StreamSlot> slots, double share) {
  Sample sample;
  sample.model.model = model.model;
  sample.model.quantizer = model.quantizer;
  for (const StreamSlot& slot : slots) {
    const std::int64_t rows = slot.shape[0], columns = slot.shape[1];
    const bool turned = coded_by_columns(slot, model);
    const std::int64_t lines = turned ? columns : rows, partner = partner_distance(slot, model);
    const std::int64_t unit = partner > 0 && lines % partner == 0 ? partner : lines;
    const std::int64_t lines_of_unit =
        std::clamp<std::int64_t>(std::llround(share * static_cast<double>(unit)), 1, unit);
    if (partner > 0) sample.model.model.width = model.model.heads * lines_of_unit;
    std::vector<std::int64_t> kept;
    for (std::int64_t start = 0; start < lines; start += unit)
      for (std::int64_t i = 0; i < lines_of_unit; ++i) kept.push_back(start + (2 * i + 1) * unit / (2 * lines_of_unit));
    const auto codes = codes_of(model, slot);
    std::vector<std::int8_t> thinned;
    const auto take = [&](std::int64_t r, std::int64_t c) {
      thinned.push_back(codes[static_cast<std::size_t>(r * columns + c)]);
    };
    if (turned) {
      for (std::int64_t r = 0; r < rows; ++r)
        for (const std::int64_t c : kept) take(r, c);
    } else {
      for (const std::int64_t r : kept)
        for (std::int64_t c = 0; c < columns; ++c) take(r, c);
    }
    StreamSlot thin_slot = slot;
    thin_slot.tensor = sample.slots.size();
    thin_slot.first_row = 0;
    (turned ? thin_slot.shape[1] : thin_slot.shape[0]) = static_cast<std::int64_t>(kept.size());
    StoredTensor tensor{model.tensors[slot.tensor].spec, Fp8Tensor{}};
    if (slot.part == Part::codes) {
      QuantizedTensor quantized;
      quantized.shape = thin_slot.shape;
      quantized.quantizer = model.quantizer;
      quantized.codes = std::move(thinned);
      tensor.data = std::move(quantized);
    } else {
      tensor.data = Fp8Tensor{{thinned.begin(), thinned.end()}, 0};
    }
    sample.model.tensors.push_back(std::move(tensor));
    sample.slots.push_back(std::move(thin_slot));
  }
  return sample;
}

// ---- chains ----

struct Chain {
  ChainKind kind = ChainKind::codes;
  std::vector<StreamSlot> slots;
  double work = 0;   // symbols, in the time that a quantised weight takes
  double bytes = 0;  // the estimate
  double coded_share = 1;
};

double symbols_of(std::span<const StreamSlot> slots) {
  double symbols = 0;
  for (const StreamSlot& slot : slots) symbols += static_cast<double>(count_of(slot));
  return symbols;
}

Result<double> coded_bytes(const StoredModel& model, std::span<const StreamSlot> slots) {
  P5_TRY(const EncodedSlots encoded, encode_chain(model, slots, {coder::Covariance::on, {}}));
  return static_cast<double>(encoded.bytes.size());
}

// The matrices of a chain that do the same in different layers, by their place in the chain.
std::vector<std::vector<std::size_t>> roles_of(std::span<const StreamSlot> slots) {
  std::map<std::string, std::vector<std::size_t>> roles;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    std::string role = slots[i].name;
    std::erase_if(role, [](char c) { return c >= '0' && c <= '9'; });
    roles[role].push_back(i);
  }
  std::vector<std::vector<std::size_t>> list;
  for (auto& [name, members] : roles) list.push_back(std::move(members));
  return list;
}

// Whole matrices of layers from all over the model, at most `share` of them: what they take beyond their closed forms
// (`closed`, by slot) is what those of the other layers are taken to need. The first of each role also pays for what
// the coder learns about all of them. Nothing where not even one layer is affordable.
Result<bool> extrapolate_layers(const StoredModel& model, std::span<const double> closed, double share, Chain& chain) {
  const auto roles = roles_of(chain.slots);
  std::vector<std::size_t> sampled;
  for (const auto& role : roles) {
    const auto layers = static_cast<std::size_t>(std::llround(share * static_cast<double>(role.size())));
    if (layers == 0) return false;
    for (std::size_t i = 0; i < layers; ++i) sampled.push_back(role[(2 * i + 1) * role.size() / (2 * layers)]);
  }
  std::sort(sampled.begin(), sampled.end());
  std::vector<StreamSlot> slots;
  for (const std::size_t i : sampled) slots.push_back(chain.slots[i]);
  P5_TRY(const EncodedSlots encoded, encode_chain(model, slots, {coder::Covariance::on, {}}));
  std::map<std::size_t, double> excess;
  for (std::size_t k = 0; k < sampled.size(); ++k)
    excess[sampled[k]] = static_cast<double>(encoded.slot_bytes[k]) - closed[sampled[k]];
  for (const auto& role : roles) {
    double first = 0, later = 0;
    std::size_t found = 0;
    for (const std::size_t i : role) {
      if (!excess.contains(i)) continue;
      (found++ == 0 ? first : later) += excess[i];
    }
    later = found > 1 ? later / static_cast<double>(found - 1) : first;
    chain.bytes += first + later * static_cast<double>(role.size() - 1);
  }
  chain.coded_share = symbols_of(slots) / symbols_of(chain.slots);
  return true;
}

// What the coder takes for a sample beyond the closed form of the same symbols.
struct Excess {
  double share = 0;  // of the chain's symbols
  double bytes = 0;
};
Result<Excess> measure(const StoredModel& model, const Chain& chain, const std::vector<AdaptiveCode>& codes,
                       double share) {
  const Sample sample = thin(model, chain.slots, share);
  Excess excess{symbols_of(sample.slots) / symbols_of(chain.slots), 0};
  P5_TRY(excess.bytes, coded_bytes(sample.model, sample.slots));
  for (std::size_t i = 0; i < codes.size(); ++i)
    excess.bytes -= ClassCounts(sample.model, sample.slots[i]).bytes(codes[i]);
  return excess;
}

// Rows of every matrix. The excess over a share x of the rows is taken to be a + b x + c log2(1 + x rows / columns): a,
// at most kStartBytes, for what the coder soon knows; the logarithm for the correlations of so many columns.
Status extrapolate_rows(const StoredModel& model, const std::vector<AdaptiveCode>& codes, double share, Chain& chain) {
  P5_TRY(const Excess half, measure(model, chain, codes, share / 3));
  P5_TRY(const Excess whole, measure(model, chain, codes, share * 2 / 3));
  double lines = 0, line = 0;
  for (const StreamSlot& slot : chain.slots) {
    const bool turned = coded_by_columns(slot, model);
    lines += static_cast<double>(slot.shape[turned ? 1 : 0]);
    line += static_cast<double>(slot.shape[turned ? 0 : 1]);
  }
  const auto learnt = [&](double x) { return std::log2(1 + x * lines / line); };
  double a = 0, c = 0;
  if (whole.share > half.share) {  // small matrices may leave no room between the two
    const auto at_zero = [&](double at_half, double at_whole) {
      return (whole.share * at_half - half.share * at_whole) / (whole.share - half.share);
    };
    const double start = at_zero(half.bytes, whole.bytes);
    a = std::min(start, kStartBytes);
    c = (start - a) / at_zero(learnt(half.share), learnt(whole.share));
  }
  const double b = (whole.bytes - a - c * learnt(whole.share)) / whole.share;
  chain.bytes += a + b + c * learnt(1);
  chain.coded_share = whole.share;
  return {};
}

// `work` is what this chain may cost.
Status estimate(const StoredModel& model, double work, Chain& chain) {
  if (chain.work <= work || (chain.kind != ChainKind::codes && chain.kind != ChainKind::fp8)) {
    P5_TRY(chain.bytes, coded_bytes(model, chain.slots));
    return {};
  }
  std::vector<AdaptiveCode> codes;
  std::vector<double> closed;
  for (const StreamSlot& slot : chain.slots) {
    const ClassCounts counts(model, slot);
    codes.push_back(counts.best());
    closed.push_back(counts.bytes(codes.back()));
    chain.bytes += closed.back();
  }
  chain.coded_share = 0;
  const double share = work / chain.work;
  if (share <= 0) return {};
  P5_TRY(const bool extrapolated, extrapolate_layers(model, closed, share, chain));
  return extrapolated ? Status() : extrapolate_rows(model, codes, share, chain);
}

std::uint64_t varint_bytes(std::uint64_t value) {
  ByteWriter out;
  out.varint(value);
  return out.bytes().size();
}

}  // namespace

Result<PredictedSize> predict_size(const Artifact& artifact, const PredictOptions& options) {
  const StoredModel& model = artifact.model;
  const std::vector<TensorSpec> specs = tensor_specs(model.model);
  P5_TRY(const OtherStreams other, other_streams(artifact));
  const std::vector<StreamSlot> slots =
      stream_slots(model.model, model.quantizer, specs, !other.tokenizer.empty(), !other.self_test.empty());

  std::map<std::pair<ChainKind, int>, Chain> by_number;
  std::vector<StreamSlot> rest;
  for (const StreamSlot& slot : slots) {
    const ChainKind kind = chain_kind(slot, specs);
    if (kind == ChainKind::bytes) {
      rest.push_back(slot);
      continue;
    }
    Chain& chain = by_number[{kind, usual_chain(slot, model)}];
    chain.kind = kind;
    chain.slots.push_back(slot);
    chain.work += static_cast<double>(count_of(slot)) * (kind == ChainKind::fp8 ? kFloatWork : 1);
  }
  std::vector<Chain> chains;
  double work = 0;
  for (auto& [number, chain] : by_number) {
    if (chain.kind == ChainKind::codes || chain.kind == ChainKind::fp8) work += chain.work;
    chains.push_back(std::move(chain));
  }
  // Longest first; every chain gets its share of the work.
  std::stable_sort(chains.begin(), chains.end(), [](const Chain& a, const Chain& b) { return a.work > b.work; });
  const double affordable = work > 0 ? std::min(1.0, static_cast<double>(options.symbols) / work) : 1;
  std::vector<Status> results(chains.size());
  parallel_for(chains.size(), options.threads,
               [&](std::size_t i) { results[i] = estimate(model, affordable * chains[i].work, chains[i]); });
  for (const Status& result : results) P5_OK(result);

  PredictedSize size;
  double coded = 0, symbols = 0;
  std::uint64_t directory = slots.size(), entries = 0;
  const auto add_entry = [&](std::uint64_t bytes) {
    directory += varint_bytes(bytes);
    ++entries;
    return bytes;
  };
  for (const Chain& chain : chains) {
    const auto bytes = add_entry(static_cast<std::uint64_t>(std::llround(std::max(0.0, chain.bytes))));
    (chain.kind == ChainKind::codes    ? size.quantised_bytes
     : chain.kind == ChainKind::scales ? size.scale_bytes
                                       : size.float_bytes) += bytes;
    if (chain.kind != ChainKind::codes && chain.kind != ChainKind::fp8) continue;
    symbols += symbols_of(chain.slots);
    coded += chain.coded_share * symbols_of(chain.slots);
  }
  EncodeOptions encode;
  encode.threads = options.threads;
  P5_TRY(const Choice choice, choose_entries(artifact, other, rest, specs, encode));
  for (const ChosenEntry& entry : choice.entries)
    (rest[entry.slots[0]].part == Part::tokenizer ? size.tokenizer_bytes : size.metadata_bytes) +=
        add_entry(entry.stored.size());
  ByteWriter metadata;
  write_metadata(metadata, describe(artifact, other, choice));
  const std::uint64_t head = metadata.bytes().size() + directory + kStreamChecksumBytes * entries;
  size.checksum_bytes = kStreamChecksumBytes * (entries + 1) + kFileChecksumBytes;
  size.metadata_bytes += kMagic.size() + 1 + varint_bytes(head) + metadata.bytes().size() + directory;
  size.coded_share = symbols > 0 ? coded / symbols : 1;
  size.file_bytes = size.quantised_bytes + size.float_bytes + size.scale_bytes + size.tokenizer_bytes +
                    size.metadata_bytes + size.checksum_bytes;
  return size;
}

}  // namespace par5
