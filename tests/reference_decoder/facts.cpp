// Metadata, and the tensors that it implies.
#include "parts.h"

namespace reference {

Facts read_facts(Cursor& in) {
  Facts facts;
  std::uint64_t last = 0;
  bool named = false;
  for (std::uint64_t left = in.varint(); left > 0; --left) {
    const std::uint64_t tag = in.varint(), number = tag / 8, type = tag / 2 % 4;
    std::string name;
    if (number == 0) {
      const Bytes text = in.counted(64);
      name.assign(text.begin(), text.end());
      named = true;
    } else {
      require(!named && number > last, "keys out of order");
      require(number <= 34, "unknown key number");
      last = number;
    }
    std::uint64_t integer = 0;
    Bytes bytes;
    if (type == 0) integer = in.varint();
    if (type == 1) in.fixed(8);
    if (type >= 2) bytes = in.counted(65536);
    if (number == 0 && tag % 2 == 1) refuse("unknown required key " + name);
    if (number == 0) continue;
    if (facts.integers.count(static_cast<int>(number)) != 0) {
      require(type == 0, "wrong type");
      facts.integers[static_cast<int>(number)] = integer;
    }
    if (number == 32) facts.fp8_exponents = bytes;
  }
  return facts;
}

std::vector<TensorPlan> plan_tensors(const Facts& f) {
  std::vector<TensorPlan> tensors;
  const std::int64_t layers = f[1], d = f[2], k = f[4] * (d / f[3]), m = f[5], vocab = f[6], e = f[7];
  const Kind embedding = f[19] == 0 ? Kind::fp8 : f[19] == 1 ? Kind::fp16 : Kind::quantised;
  const auto quantised = [&](std::int64_t rows, std::int64_t columns, Known known = Known::nothing,
                             std::size_t reader = 0) {
    tensors.push_back({{rows, columns}, Kind::quantised, {rows}, {known}, reader == 0 ? 0 : tensors.size() + reader});
  };
  const auto vector = [&](std::int64_t n) { tensors.push_back({{n}, Kind::fp16, {}}); };
  const std::vector<Known> of_fused = {Known::nothing, Known::nothing, Known::value_channels};
  if (f[17] == 0) {
    tensors.push_back({{vocab, e}, embedding, {vocab}});
    if (e != d) {
      tensors.push_back({{d, e}, embedding, {d}});
      tensors.push_back({{e, d}, embedding, {e}});
    }
    for (std::int64_t i = 0; i < layers; ++i) {
      if (f[20] == 1) {
        tensors.push_back({{d + 2 * k, d}, Kind::quantised, {d, k, k}, of_fused, tensors.size() + 1});
      } else {
        quantised(d, d);
        quantised(k, d);
        quantised(k, d, Known::value_channels, 1);
      }
      quantised(d, d);
      vector(f[3]);
      quantised(f[18] == 2 ? 2 * m : m, d, Known::hidden_units, 1);
      quantised(d, m);
      vector(d);
      vector(d);
      tensors.push_back({{2, d}, Kind::fp16, {}});
    }
    if (layers >= 2) tensors.push_back({{layers / 2, d}, Kind::fp16, {}});
    if (f[21] == 1) vector(vocab);
  } else {
    tensors.push_back({{vocab, d}, embedding, {vocab}});
    tensors.push_back({{f[8], d}, Kind::fp16, {}});
    for (std::int64_t i = 0; i < layers; ++i) {
      vector(d);
      tensors.push_back({{3 * d, d}, Kind::quantised, {d, d, d}, of_fused, tensors.size() + 1});
      quantised(d, d);
      vector(d);
      quantised(m, d, Known::hidden_units, 1);
      quantised(d, m);
    }
    vector(d);
  }
  return tensors;
}

}  // namespace reference
