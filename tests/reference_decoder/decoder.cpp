// A second decoder of par5 artifacts, written from docs/format.md alone: slow, single-threaded, no project headers.
// It prints a hash of every decoded value, which the tests compare with what par5 decodes.
#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <utility>

#include "own_coder.h"
#include "parts.h"

namespace reference {
namespace {

std::uint64_t xxh3(const Bytes& bytes, std::size_t count) { return XXH3_64bits(bytes.data(), count); }

struct Stream {
  int codec = 0, layout = 0;  // of a chain the layout is its number
  std::uint64_t stored = 0, size = 0;
  std::uint32_t checksum = 0;
  int part = 0;  // 0 tokenizer, 1 self-test, 2 codes, 3 scales, 4 values
  std::size_t tensor = 0;
  std::int64_t first_row = 0, rows = 0, columns = 0;
  std::vector<std::size_t> chained;  // the streams that follow this one in its chain
  bool in_chain = false;             // of an earlier stream
};

// The numbers that are known of the rows of part `which` of a tensor, once all codes are.
std::vector<int> known_numbers(const Facts& f, const std::vector<TensorPlan>& plans,
                               const std::vector<std::vector<int>>& codes, std::size_t tensor, std::size_t which) {
  const TensorPlan& plan = plans[tensor];
  std::vector<int> known(static_cast<std::size_t>(plan.part_rows[which]), 0);
  const Known kind = plan.known.empty() ? Known::nothing : plan.known[which];
  if (kind == Known::nothing) return known;
  const auto columns = static_cast<std::size_t>(plans[plan.reader].shape[1]);
  std::vector<std::uint64_t> sums(columns, 0);
  for (std::size_t i = 0; i < codes[plan.reader].size(); ++i)
    sums[i % columns] += static_cast<std::uint64_t>(std::abs(codes[plan.reader][i]));
  const auto width = static_cast<std::size_t>(f[2] / f[3]), heads = static_cast<std::size_t>(f[3] / f[4]);
  for (std::size_t i = 0; i < known.size(); ++i) {
    std::uint64_t n = 0;
    if (kind == Known::hidden_units) n = sums[i % columns];
    for (std::size_t h = 0; h < heads && kind == Known::value_channels; ++h)
      n += sums[(i / width * heads + h) * width + i % width];
    int e = 0;
    while ((n + 1) >> (e + 1) != 0) ++e;
    known[i] = 256 * e + static_cast<int>(((n + 1) << 8) >> e) - 256;
  }
  return known;
}

// What the streams of a chain are in the layout `bytes`, one after the other.
Bytes decode_chain(const Facts& f, const std::vector<TensorPlan>& plans, const std::vector<std::vector<int>>& codes,
                   const std::vector<Stream>& members, const Bytes& stored) {
  const int grid = static_cast<int>(f[9]), scale_bits = static_cast<int>(f[12]);
  const int largest = grid == 0 ? 1 : grid <= 3 ? grid : (1 << (grid - 1)) - 1;
  const int part = members[0].part;
  const Kind kind = plans[members[0].tensor].kind;
  Bytes out;
  if (part < 2) {
    for (const Stream& stream : members) out.resize(out.size() + static_cast<std::size_t>(stream.size));
    return decode_bytes(out.size(), stored);
  }
  if (kind == Kind::fp16 || (part == 3 && scale_bits == 16)) {
    std::vector<std::size_t> lengths;
    for (const Stream& stream : members) lengths.push_back(static_cast<std::size_t>(stream.rows * stream.columns));
    for (const auto& vector : decode_halves(lengths, stored))
      for (const std::uint16_t value : vector) {
        out.push_back(static_cast<std::uint8_t>(value & 255));
        out.push_back(static_cast<std::uint8_t>(value >> 8));
      }
    return out;
  }
  Alphabet alphabet{kind == Kind::fp8, largest, grid != 0};
  if (part == 3) alphabet = {false, 1 << (scale_bits - 1), true};
  std::vector<Matrix> matrices;
  std::vector<bool> begins;  // a stream
  for (const Stream& stream : members) {
    const std::size_t first = matrices.size();
    if (part == 3 && f[11] != 2)
      for (std::size_t p = 0; p < plans[stream.tensor].part_rows.size(); ++p)
        matrices.push_back(
            {plans[stream.tensor].part_rows[p], stream.columns, known_numbers(f, plans, codes, stream.tensor, p)});
    else
      matrices.push_back({stream.rows, stream.columns, {}});
    begins.resize(matrices.size(), false);
    begins[first] = true;
  }
  const std::size_t head = part == 3 ? 4 * members.size() : 0;
  require(stored.size() >= head, "a chain of scales is too short");
  const auto decoded =
      decode_chain(alphabet, matrices, Bytes(stored.begin() + static_cast<std::ptrdiff_t>(head), stored.end()));
  std::size_t at = 0;
  for (std::size_t i = 0; i < decoded.size(); ++i) {
    for (int k = 0; k < 4 && part == 3 && begins[i]; ++k) out.push_back(stored[at++]);
    for (const int symbol : decoded[i])
      out.push_back(static_cast<std::uint8_t>(alphabet.fp8        ? symbol
                                              : alphabet.has_zero ? symbol + alphabet.most
                                                                  : symbol > 0));
  }
  return out;
}

void decode(const Bytes& file) {
  require(file.size() >= 18 && std::memcmp(file.data(), "par5", 4) == 0 && file[4] == 1,
          "not a par5 artifact of version 1");
  Cursor in{file, 5, file.size()};
  const std::uint64_t head = in.varint();
  require(head <= in.end - in.at && head <= (1 << 24), "head too long");
  const std::size_t head_end = in.at + head;
  Cursor body{file, in.at, head_end};
  in.at = head_end;
  require(in.fixed(4) == (xxh3(file, head_end) & 0xffffffff), "head checksum");
  const Facts facts = read_facts(body);
  const auto plans = plan_tensors(facts);
  const std::int64_t scale_bits = facts[12];
  const int grid = static_cast<int>(facts[9]);
  const int largest = grid == 0 ? 1 : grid <= 3 ? grid : (1 << (grid - 1)) - 1;
  const int levels = grid == 0 ? 2 : 2 * largest + 1;
  const bool has_sign_planes = grid >= 1 && grid <= 3;

  std::vector<Stream> streams;
  const auto add = [&](int part, std::size_t tensor, std::int64_t first, std::int64_t rows, std::int64_t columns) {
    Stream stream;
    stream.part = part;
    stream.tensor = tensor;
    stream.first_row = first;
    stream.rows = rows;
    stream.columns = columns;
    streams.push_back(stream);
  };
  if (facts[15] > 0) add(0, 0, 0, 0, 0);
  if (facts[16] > 0) add(1, 0, 0, 0, 0);
  std::vector<std::int64_t> groups(plans.size(), 1);
  for (std::size_t t = 0; t < plans.size(); ++t) {
    if (plans[t].kind != Kind::quantised) continue;
    std::int64_t first = 0;
    for (const std::int64_t rows : plans[t].part_rows) {
      add(2, t, first, rows, plans[t].shape[1]);
      first += rows;
    }
  }
  for (std::size_t t = 0; t < plans.size(); ++t)
    if (plans[t].kind == Kind::quantised) {
      if (facts[11] == 0) groups[t] = plans[t].shape[1] / facts[10];
      add(3, t, 0, facts[11] == 2 ? 1 : plans[t].shape[0], groups[t]);
    }
  for (std::size_t t = 0; t < plans.size(); ++t)
    if (plans[t].kind != Kind::quantised)
      add(4, t, 0, plans[t].shape[0], plans[t].shape.size() == 2 ? plans[t].shape[1] : 1);

  std::map<std::vector<int>, std::size_t> chains;  // by part, kind and number
  for (std::size_t i = 0; i < streams.size(); ++i) {
    Stream& stream = streams[i];
    const int coding = body.byte();
    stream.codec = coding / 16;
    stream.layout = coding % 16;
    require(stream.codec <= 6 && (stream.codec == 4 || stream.layout <= 9), "unknown codec or layout");
    if (stream.codec != 4) continue;
    // A tokenizer and a self-test are of one kind.
    const auto [first, is_new] =
        chains.try_emplace({std::max(1, stream.part), static_cast<int>(plans[stream.tensor].kind), stream.layout}, i);
    stream.in_chain = !is_new;
    if (!is_new) streams[first->second].chained.push_back(i);
  }
  for (Stream& stream : streams) {
    const auto count = static_cast<std::uint64_t>(stream.rows * stream.columns);
    const int shape = stream.codec == 4 ? 0 : stream.layout & ~1;
    if (!stream.in_chain) stream.stored = body.varint();
    if (stream.part == 0) stream.size = static_cast<std::uint64_t>(facts[15]);
    if (stream.part == 1) stream.size = static_cast<std::uint64_t>(facts[16]);
    if (stream.part == 2) {
      if (shape == 0) stream.size = count;
      if (shape == 4) stream.size = (count + 2) / 3;
      if (shape == 6) stream.size = (count + 4) / 5;
      if (shape == 2 && has_sign_planes) {
        stream.size = body.varint();
        require(stream.size <= static_cast<std::uint64_t>(1 + largest) * ((count + 7) / 8), "planes claim too much");
      } else if (shape == 2) {
        int bits = 0;
        while ((1 << bits) < levels) ++bits;
        stream.size = static_cast<std::uint64_t>(bits) * ((count + 7) / 8);
      }
    }
    if (stream.part == 3 && scale_bits == 16) stream.size = 2 * count;
    if (stream.part == 3 && scale_bits < 16)
      stream.size = 4 + (shape == 2 ? static_cast<std::uint64_t>(scale_bits) * ((count + 7) / 8) : count);
    if (stream.part == 4) stream.size = (plans[stream.tensor].kind == Kind::fp8 ? 1 : 2) * count;
  }
  for (Stream& stream : streams)
    if (!stream.in_chain) stream.checksum = static_cast<std::uint32_t>(body.fixed(4));
  require(body.at == body.end, "bytes after the directory");

  std::vector<std::vector<int>> codes(plans.size());
  std::vector<std::vector<std::uint16_t>> scales(plans.size());
  std::vector<std::vector<float>> values(plans.size());
  // Codes come before scales in the file, so that what a chain of scales needs is there.
  const auto place = [&](const Stream& stream, const Bytes& bytes) {
    const bool turned = stream.codec != 4 && stream.layout % 2 == 1;
    const int layout = stream.codec == 4 ? 0 : stream.layout & ~1;
    const auto count = static_cast<std::size_t>(stream.rows * stream.columns);
    if (stream.part == 0)
      std::printf("tokenizer %016llx\n", static_cast<unsigned long long>(tokenizer_hash(bytes, facts.integers.at(6))));
    if (stream.part == 2) {
      std::vector<int> part;
      if (layout == 2 && has_sign_planes) {
        part = sign_planes(bytes, count, largest);
      } else {
        part = symbols(bytes, layout, count, levels);
        for (int& code : part) code = grid == 0 ? 2 * code - 1 : code - largest;
      }
      if (turned) part = upright(part, stream.rows, stream.columns);
      auto& of_tensor = codes[stream.tensor];
      of_tensor.resize(static_cast<std::size_t>(plans[stream.tensor].shape[0] * stream.columns));
      std::copy(part.begin(), part.end(), of_tensor.begin() + stream.first_row * stream.columns);
    }
    if (stream.part == 3) {
      std::vector<std::uint16_t> list;
      if (scale_bits == 16) {
        list = halves(bytes, layout, count);
        for (const std::uint16_t scale : list) require(scale > 0 && scale < 0x7c00, "scale is not positive and finite");
      } else {
        const auto anchor = static_cast<std::uint16_t>(bytes[0] | bytes[1] << 8),
                   step = static_cast<std::uint16_t>(bytes[2] | bytes[3] << 8);
        for (const int symbol : symbols(Bytes(bytes.begin() + 4, bytes.end()), layout, count, 1 << scale_bits))
          list.push_back(reconstruct(anchor, step, symbol - (1 << (scale_bits - 1))));
      }
      scales[stream.tensor] = turned ? upright(list, stream.rows, stream.columns) : list;
    }
    if (stream.part == 4) {
      std::vector<float> list;
      if (plans[stream.tensor].kind == Kind::fp8) {
        const auto earlier = static_cast<std::size_t>(
            std::count_if(plans.begin(), plans.begin() + static_cast<std::ptrdiff_t>(stream.tensor),
                          [](const TensorPlan& plan) { return plan.kind == Kind::fp8; }));
        const int exponent =
            facts.fp8_exponents.empty() ? 0 : static_cast<std::int8_t>(facts.fp8_exponents.at(earlier));
        for (const std::uint8_t code : bytes) list.push_back(std::ldexp(e4m3(code), exponent));
      } else {
        for (const std::uint16_t code : halves(bytes, layout, count)) list.push_back(half(code));
      }
      values[stream.tensor] = turned ? upright(list, stream.rows, stream.columns) : list;
    }
  };
  for (const Stream& stream : streams) {
    if (stream.in_chain) continue;
    const Bytes stored = in.take(stream.stored);
    std::vector<Stream> members = {stream};
    for (const std::size_t i : stream.chained) members.push_back(streams[i]);
    std::size_t size = 0;
    for (const Stream& member : members) size += member.size;
    const Bytes bytes = stream.codec == 4 ? decode_chain(facts, plans, codes, members, stored)
                                          : decode_codec(stream.codec, stored, size);
    require(bytes.size() == size, "wrong size of a raw stream");
    require(static_cast<std::uint32_t>(xxh3(bytes, size)) == stream.checksum, "stream checksum");
    Cursor rest{bytes, 0, size};
    for (const Stream& member : members) place(member, rest.take(member.size));
  }
  require(in.end - in.at == 8 && in.fixed(8) == xxh3(file, file.size() - 8), "file checksum");

  XXH3_state_t* hash = XXH3_createState();
  XXH3_64bits_reset(hash);
  std::size_t total = 0;
  for (std::size_t t = 0; t < plans.size(); ++t) {
    if (plans[t].kind == Kind::quantised) {
      const std::size_t per_scale = codes[t].size() / scales[t].size();
      for (std::size_t i = 0; i < codes[t].size(); ++i)
        values[t].push_back(static_cast<float>(codes[t][i]) * half(scales[t][i / per_scale]));
    }
    total += values[t].size();
    XXH3_64bits_update(hash, values[t].data(), values[t].size() * sizeof(float));
  }
  std::printf("values %016llx %zu\n", static_cast<unsigned long long>(XXH3_64bits_digest(hash)), total);
  XXH3_freeState(hash);
}

}  // namespace
}  // namespace reference

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s FILE.par5\n", argv[0]);
    return 2;
  }
  std::ifstream in(argv[1], std::ios::binary);
  const reference::Bytes file((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  try {
    reference::decode(file);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: refused: %s\n", argv[1], error.what());
    return 1;
  }
  return 0;
}
