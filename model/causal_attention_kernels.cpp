// Causal attention in tiles that stay in the caches, forward and backward. Keys, values and queries are first packed as
// float32; then every step is one of two products whose accumulators never leave the registers:
//   row_products   C[m][j] = sum over d of a[m][d] · panel[d][j]       scores, and gradients of probabilities
//   add_products   C[m][d] += sum over k of a(m, k) · b[k][d]          everything that sums over keys or queries
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "model/causal_attention_kernels.cpp"
#include "hwy/foreach_target.h"
// After foreach_target.h, which includes this file once per instruction set.
#include <algorithm>

#include "model/head_preparation-inl.h"
#include "model/word_transpose.h"

HWY_BEFORE_NAMESPACE();
namespace par5::kernels {
namespace HWY_NAMESPACE {

// Queries and keys of one tile: a multiple of every count of rows below and of all panels' widths.
constexpr std::size_t kTile = 48;
// How many vectors fill the registers, with what multiplies them.
constexpr bool kManyRegisters = HWY_TARGET <= HWY_AVX3;
constexpr std::size_t kScoreRows = kManyRegisters ? 8 : 4;
constexpr std::size_t kPanelVectors = 3;
constexpr std::size_t kMostVectors = kManyRegisters ? 4 : 3;
constexpr std::size_t sum_rows(std::size_t vectors) {
  return !kManyRegisters ? 4 : vectors == 4 ? 6 : vectors == 3 ? 8 : 12;
}

// C[m][j] for kScoreRows rows and kVectors vectors of a panel [depth][kPanelVectors · lanes]; finish(m, v, C) takes it.
template <std::size_t kVectors, class Finish>
HWY_INLINE void row_products_of(const float* HWY_RESTRICT a, std::size_t a_stride, const float* HWY_RESTRICT panel,
                                std::size_t depth, Finish&& finish) {
  const Tag d;
  const std::size_t width = kPanelVectors * lanes();
  V sums[kScoreRows][kVectors];
#pragma GCC unroll 8
  for (std::size_t m = 0; m < kScoreRows; ++m)
#pragma GCC unroll 3
    for (std::size_t v = 0; v < kVectors; ++v) sums[m][v] = hn::Zero(d);
  for (std::size_t k = 0; k < depth; ++k) {
    V column[kVectors];
#pragma GCC unroll 3
    for (std::size_t v = 0; v < kVectors; ++v) column[v] = hn::LoadU(d, panel + k * width + v * lanes());
#pragma GCC unroll 8
    for (std::size_t m = 0; m < kScoreRows; ++m) {
      const V factor = hn::Set(d, a[m * a_stride + k]);
#pragma GCC unroll 3
      for (std::size_t v = 0; v < kVectors; ++v) sums[m][v] = hn::MulAdd(factor, column[v], sums[m][v]);
    }
  }
#pragma GCC unroll 8
  for (std::size_t m = 0; m < kScoreRows; ++m)
#pragma GCC unroll 3
    for (std::size_t v = 0; v < kVectors; ++v) finish(m, v, sums[m][v]);
}
template <class Finish>
HWY_INLINE void row_products(const float* a, std::size_t a_stride, const float* panel, std::size_t depth,
                             std::size_t vectors, Finish&& finish) {
  if (vectors == 1)
    row_products_of<1>(a, a_stride, panel, depth, finish);
  else if (vectors == 2)
    row_products_of<2>(a, a_stride, panel, depth, finish);
  else
    row_products_of<3>(a, a_stride, panel, depth, finish);
}

// C of sum_rows(kVectors) rows and kVectors vectors, over k in [begin, end): a(m, k) = a[m · row_step + k · step], b
// [k][b_stride]. start(m, v) gives what is added to, finish(m, v, C) takes the sum.
template <std::size_t kVectors, class Start, class Finish>
HWY_INLINE void sums_of(const float* HWY_RESTRICT a, std::size_t row_step, std::size_t step,
                        const float* HWY_RESTRICT b, std::size_t b_stride, std::size_t begin, std::size_t end,
                        Start&& start, Finish&& finish) {
  const Tag d;
  constexpr std::size_t kRows = sum_rows(kVectors);
  V sums[kRows][kVectors];
#pragma GCC unroll 12
  for (std::size_t m = 0; m < kRows; ++m)
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kVectors; ++v) sums[m][v] = start(m, v);
  for (std::size_t k = begin; k < end; ++k) {
    V row[kVectors];
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kVectors; ++v) row[v] = hn::LoadU(d, b + k * b_stride + v * lanes());
#pragma GCC unroll 12
    for (std::size_t m = 0; m < kRows; ++m) {
      const V factor = hn::Set(d, a[m * row_step + k * step]);
#pragma GCC unroll 4
      for (std::size_t v = 0; v < kVectors; ++v) sums[m][v] = hn::MulAdd(factor, row[v], sums[m][v]);
    }
  }
#pragma GCC unroll 12
  for (std::size_t m = 0; m < kRows; ++m)
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kVectors; ++v) finish(m, v, sums[m][v]);
}

// Calls work(vectors, at) for chunks of a row of `width` elements, a whole number of vectors: about equal ones that
// each fit the registers. `vectors` is a std::integral_constant.
template <class Work>
HWY_INLINE void over_chunks(std::size_t width, Work&& work) {
  for (std::size_t at = 0; at < width;) {
    const std::size_t left = (width - at) / lanes(), chunks = (left + kMostVectors - 1) / kMostVectors;
    const std::size_t vectors = (left + chunks - 1) / chunks;
    if (vectors == 1)
      work(std::integral_constant<std::size_t, 1>(), at);
    else if (vectors == 2)
      work(std::integral_constant<std::size_t, 2>(), at);
    else if (vectors == 3)
      work(std::integral_constant<std::size_t, 3>(), at);
    else
      work(std::integral_constant<std::size_t, kMostVectors>(), at);
    at += vectors * lanes();
  }
}

struct Span {
  std::size_t begin, end;
};

// C[m][0 … width) += the products for m in [0, rows), rounded up to whole groups of rows; range(first, count) gives the
// k that rows first … first + count - 1 need. C and b have the row stride `width`.
template <class Range>
HWY_INLINE void add_products(float* c, const float* a, std::size_t row_step, std::size_t step, const float* b,
                             std::size_t width, std::size_t rows, Range&& range) {
  const Tag d;
  over_chunks(width, [&](auto vectors, std::size_t at) HWY_ATTR {
    constexpr std::size_t kVectors = decltype(vectors)::value, kRows = sum_rows(kVectors);
    for (std::size_t m0 = 0; m0 < rows; m0 += kRows) {
      const Span span = range(m0, kRows);
      float* out = c + m0 * width + at;
      sums_of<kVectors>(
          a + m0 * row_step, row_step, step, b + at, width, span.begin, span.end,
          [&](std::size_t m, std::size_t v) HWY_ATTR { return hn::LoadU(d, out + m * width + v * lanes()); },
          [&](std::size_t m, std::size_t v, V sum) HWY_ATTR { hn::StoreU(sum, d, out + m * width + v * lanes()); });
    }
  });
}

// What every unit of work shares.
struct Layout {
  std::size_t length, padded, depth, width, panel, group, unit_batch, unit_head;

  Layout(const CausalAttention& job, std::size_t unit)
      : length(job.length),
        padded((job.length + kTile - 1) / kTile * kTile),
        depth(job.head_width),
        width((job.head_width + lanes() - 1) / lanes() * lanes()),
        panel(kPanelVectors * lanes()),
        group(job.heads / job.kv_heads),
        unit_batch(unit / job.kv_heads),
        unit_head(unit % job.kv_heads) {}
  // Float32 elements of a packed [padded, width] matrix.
  std::size_t matrix() const { return padded * width; }
  // Elements of a row of qkv, and the place of a head of sequence unit_batch in such a matrix.
  static std::size_t row(const CausalAttention& job) { return (job.heads + 2 * job.kv_heads) * job.head_width; }
  std::size_t head(const CausalAttention& job, std::size_t number) const {
    return unit_batch * length * row(job) + number * depth;
  }
};

// Rows first … first + count - 1 of a head, times `factor`, zero beyond the sequence and the head's width: [count,
// width].
template <class T>
void pack_rows(const T* head, std::size_t stride, const Layout& layout, std::size_t first, std::size_t count,
               float factor, float* out) {
  const V scale = hn::Set(Tag(), factor);
  for (std::size_t row = 0; row < count; ++row, out += layout.width)
    for (std::size_t i = 0; i < layout.width; i += lanes())
      hn::StoreU(first + row < layout.length ? hn::Mul(load(head + (first + row) * stride, i, layout.depth), scale)
                                             : hn::Zero(Tag()),
                 Tag(), out + i);
}

// The same of head `number` of qkv, prepared where that is asked for. Norms are found, or, for `known` ones, taken.
template <class T>
void pack_prepared(const CausalAttention& job, const Layout& layout, std::size_t number, std::size_t first,
                   std::size_t count, float factor, bool known, float* out) {
  const T* head = static_cast<const T*>(job.qkv.data) + layout.head(job, number);
  const HeadPreparation& preparation = job.preparation;
  if (!preparation.cosine) return pack_rows(head, Layout::row(job), layout, first, count, factor, out);
  const std::size_t depth = layout.depth, rotated_heads = job.heads + job.kv_heads;
  const float by = number < job.heads ? factor * preparation.gain[number] : factor;
  for (std::size_t position = first; position < first + count; ++position, out += layout.width) {
    const std::size_t filled = position < layout.length ? depth : 0;
    std::fill(out + filled, out + layout.width, 0.0f);
    if (filled == 0) continue;
    const T* in = head + position * Layout::row(job);
    float& inverse = job.inverse[(layout.unit_batch * layout.length + position) * rotated_heads + number];
    if (!known) inverse = inverse_rms(in, depth, preparation.epsilon);
    rotate_head(in, depth, by * inverse, preparation.cosine + position * (depth / 2),
                preparation.sine + position * (depth / 2), out);
  }
}

// A packed [padded, width] matrix as panels of columns: [padded / panel][depth][panel].
void transpose_panels(const float* rows, const Layout& layout, float* out) {
  for (std::size_t first = 0; first < layout.padded; first += layout.panel, out += layout.depth * layout.panel)
    transpose_words(rows + first * layout.width, layout.width, layout.panel, layout.depth, out, layout.panel);
}

// Vectors of the panel that begins with key `first` which queries up to `last` may look at.
HWY_INLINE std::size_t visible_vectors(std::size_t first, std::size_t last) {
  return last < first ? 0 : std::min(kPanelVectors, (last - first) / lanes() + 1);
}
// Keys from `first` on, where they are no later than the query.
HWY_INLINE hn::Mask<Tag> visible(std::size_t first, std::size_t query) {
  const Tag d;
  const float count = query < first ? 0.0f : static_cast<float>(std::min(query - first + 1, lanes()));
  return hn::Lt(hn::Iota(d, 0.0f), hn::Set(d, count));
}

template <class T>
void attend(const CausalAttention& job, const Layout& layout, float* scratch) {
  const Tag d;
  const std::size_t width = layout.width, out_stride = job.heads * layout.depth;
  T* mixed = static_cast<T*>(job.mixed.data) + layout.unit_batch * layout.length * out_stride;
  // Scores of a tile of queries against all keys; one more vector keeps rows from falling on the same cache sets.
  const std::size_t score_stride = layout.padded + lanes();
  float *values = scratch, *keys = values + layout.matrix(), *query = keys + layout.matrix();
  float *scores = query + kTile * width, *highest = scores + kTile * score_stride, *share = highest + kTile * lanes();
  pack_prepared<T>(job, layout, job.heads + layout.unit_head, 0, layout.padded, 1.0f, /*known=*/false, values);
  transpose_panels(values, layout, keys);
  pack_rows(static_cast<const T*>(job.qkv.data) + layout.head(job, job.heads + job.kv_heads + layout.unit_head),
            Layout::row(job), layout, 0, layout.padded, 1.0f, values);
  for (std::size_t head = layout.unit_head * layout.group; head < (layout.unit_head + 1) * layout.group; ++head) {
    float* logsum = job.logsum + (layout.unit_batch * job.heads + head) * layout.length;
    for (std::size_t first = 0; first < layout.length; first += kTile) {
      const std::size_t rows = std::min(kTile, layout.length - first);
      pack_prepared<T>(job, layout, head, first, kTile, job.scale * kLog2e, /*known=*/false, query);
      std::fill(highest, highest + kTile * lanes(), -3e38f);
      for (std::size_t key = 0; key < first + rows; key += layout.panel) {
        const float* panel = keys + key * layout.depth;
        for (std::size_t m0 = 0; m0 < rows; m0 += kScoreRows) {
          const std::size_t vectors = visible_vectors(key, first + m0 + kScoreRows - 1);
          if (vectors == 0) continue;
          const bool whole = key + layout.panel <= first + m0 + 1;
          row_products(query + m0 * width, width, panel, layout.depth, vectors,
                       [&](std::size_t m, std::size_t v, V score) HWY_ATTR {
                         if (!whole)
                           score =
                               hn::IfThenElse(visible(key + v * lanes(), first + m0 + m), score, hn::Set(d, -3e38f));
                         float* most = highest + (m0 + m) * lanes();
                         hn::StoreU(hn::Max(hn::LoadU(d, most), score), d, most);
                         hn::StoreU(score, d, scores + (m0 + m) * score_stride + key + v * lanes());
                       });
        }
      }
      for (std::size_t m = 0; m < rows; ++m) {
        const float maximum = hn::GetLane(hn::MaxOfLanes(d, hn::LoadU(d, highest + m * lanes())));
        const V shift = hn::Set(d, maximum);
        V sums = hn::Zero(d);
        float* row = scores + m * score_stride;
        // Nothing after the query; the rest of the tile is summed over with it.
        std::size_t j = 0;
        for (; j <= first + m; j += lanes()) {
          const V power = power_of_two(hn::Sub(hn::LoadU(d, row + j), shift));
          sums = hn::Add(sums, power);
          hn::StoreU(power, d, row + j);
        }
        std::fill(row + j, row + std::max(j, first + kTile), 0.0f);
        const float sum = sum_of(sums);
        share[m] = 1.0f / sum;
        logsum[first + m] = maximum + std::log2(sum);
      }
      T* out = mixed + first * out_stride + head * layout.depth;
      over_chunks(width, [&](auto vectors, std::size_t at) HWY_ATTR {
        constexpr std::size_t kVectors = decltype(vectors)::value, kRows = sum_rows(kVectors);
        for (std::size_t m0 = 0; m0 < rows; m0 += kRows)
          sums_of<kVectors>(
              scores + m0 * score_stride, score_stride, 1, values + at, width, 0, first + std::min(m0 + kRows, rows),
              [&](std::size_t, std::size_t) HWY_ATTR { return hn::Zero(d); },
              [&](std::size_t m, std::size_t v, V sum) HWY_ATTR {
                const std::size_t column = at + v * lanes();
                if (m0 + m < rows && column < layout.depth)
                  store(hn::Mul(sum, hn::Set(d, share[m0 + m])), out + (m0 + m) * out_stride, column, layout.depth);
              });
      });
    }
  }
}

std::size_t attend_scratch(const Layout& layout) {
  return 2 * layout.matrix() + kTile * (layout.width + layout.padded + 2 * lanes() + 1);
}

void CausalAttentionUnits(const CausalAttention& job, std::size_t begin, std::size_t end, float* scratch) {
  for (std::size_t unit = begin; unit < end; ++unit) {
    const Layout layout(job, unit);
    with_element(job.qkv,
                 [&](auto* element) { attend<std::remove_pointer_t<decltype(element)>>(job, layout, scratch); });
  }
}

// Rows of a packed matrix, times `factor`, into a head of a gradient.
template <class T>
void unpack_rows(const float* packed, const Layout& layout, std::size_t first, std::size_t count, float factor, T* head,
                 std::size_t stride) {
  const V scale = hn::Set(Tag(), factor);
  for (std::size_t row = 0; row < count; ++row, packed += layout.width)
    for (std::size_t i = 0; i < layout.depth; i += lanes())
      store(hn::Mul(hn::LoadU(Tag(), packed + i), scale), head + (first + row) * stride, i, layout.depth);
}

// The same into head `number` of qkv's gradient, from the gradient of what pack_prepared gives for factor 1.
template <class T>
void unpack_prepared(const CausalAttention& job, const Layout& layout, std::size_t number, const float* packed,
                     std::size_t first, std::size_t count, float factor) {
  const std::size_t place = layout.head(job, number), depth = layout.depth, stride = Layout::row(job);
  T* const out = static_cast<T*>(job.qkv_gradient.data) + place;
  const HeadPreparation& preparation = job.preparation;
  if (!preparation.cosine) return unpack_rows(packed, layout, first, count, factor, out, stride);
  const T* const head = static_cast<const T*>(job.qkv.data) + place;
  const bool query = number < job.heads;
  for (std::size_t position = first; position < first + count; ++position, packed += layout.width) {
    const std::size_t row = layout.unit_batch * layout.length + position, angles = position * (depth / 2);
    const float to_gain = prepared_head_backward(head + position * stride, packed, depth, factor,
                                                 job.inverse[row * (job.heads + job.kv_heads) + number],
                                                 query ? preparation.gain[number] : 1.0f, preparation.cosine + angles,
                                                 preparation.sine + angles, out + position * stride);
    if (query) job.gain_gradient[number] += to_gain;
  }
}

template <class T>
void attend_backward(const CausalAttention& job, const Layout& layout, float* scratch) {
  const Tag d;
  const std::size_t width = layout.width, depth = layout.depth, out_stride = job.heads * depth;
  const std::size_t batch_row = layout.unit_batch * layout.length;
  const T* mixed = static_cast<const T*>(job.mixed.data) + batch_row * out_stride;
  const T* incoming = static_cast<const T*>(job.mixed_gradient.data) + batch_row * out_stride;
  float *keys = scratch, *key_panels = keys + layout.matrix(), *value_panels = key_panels + layout.matrix();
  float *to_keys = value_panels + layout.matrix(), *to_values = to_keys + layout.matrix();
  float *query = to_values + layout.matrix(), *gradient = query + kTile * width, *to_query = gradient + kTile * width;
  float *probability = to_query + kTile * width, *to_score = probability + kTile * kTile;
  float *logsum = to_score + kTile * kTile, *along = logsum + kTile;
  const std::size_t key_head = job.heads + layout.unit_head, value_head = key_head + job.kv_heads;
  pack_rows(static_cast<const T*>(job.qkv.data) + layout.head(job, value_head), Layout::row(job), layout, 0,
            layout.padded, 1.0f, keys);
  transpose_panels(keys, layout, value_panels);
  pack_prepared<T>(job, layout, key_head, 0, layout.padded, 1.0f, /*known=*/true, keys);
  transpose_panels(keys, layout, key_panels);
  std::fill(to_keys, to_keys + 2 * layout.matrix(), 0.0f);
  for (std::size_t head = layout.unit_head * layout.group; head < (layout.unit_head + 1) * layout.group; ++head) {
    for (std::size_t first = 0; first < layout.length; first += kTile) {
      const std::size_t rows = std::min(kTile, layout.length - first);
      pack_prepared<T>(job, layout, head, first, kTile, job.scale * kLog2e, /*known=*/true, query);
      pack_rows(incoming + head * depth, out_stride, layout, first, kTile, 1.0f, gradient);
      std::fill(to_query, to_query + kTile * width, 0.0f);
      for (std::size_t m = 0; m < kTile; ++m) {
        V dot = hn::Zero(d);
        if (m < rows)
          for (std::size_t i = 0; i < depth; i += lanes())
            dot = hn::MulAdd(hn::LoadU(d, gradient + m * width + i),
                             load(mixed + (first + m) * out_stride + head * depth, i, depth), dot);
        along[m] = sum_of(dot);
        logsum[m] = m < rows ? job.logsum[(layout.unit_batch * job.heads + head) * layout.length + first + m] : 0.0f;
      }
      for (std::size_t key = 0; key <= first; key += kTile) {
        const bool diagonal = key == first;
        for (std::size_t at = 0; at < kTile; at += layout.panel)
          for (std::size_t m0 = 0; m0 < rows; m0 += kScoreRows) {
            const std::size_t vectors = diagonal ? visible_vectors(at, m0 + kScoreRows - 1) : kPanelVectors;
            if (vectors == 0) continue;
            float *p = probability + m0 * kTile + at, *to_s = to_score + m0 * kTile + at;
            row_products(query + m0 * width, width, key_panels + (key + at) * depth, depth, vectors,
                         [&](std::size_t m, std::size_t v, V score) HWY_ATTR {
                           V power = power_of_two(hn::Sub(score, hn::Set(d, logsum[m0 + m])));
                           if (diagonal) power = hn::IfThenElseZero(visible(at + v * lanes(), m0 + m), power);
                           hn::StoreU(power, d, p + m * kTile + v * lanes());
                         });
            row_products(gradient + m0 * width, width, value_panels + (key + at) * depth, depth, vectors,
                         [&](std::size_t m, std::size_t v, V product) HWY_ATTR {
                           const V power = hn::LoadU(d, p + m * kTile + v * lanes());
                           hn::StoreU(hn::Mul(power, hn::Sub(product, hn::Set(d, along[m0 + m]))), d,
                                      to_s + m * kTile + v * lanes());
                         });
          }
        if (diagonal)
          // What is summed over although no query may look at it.
          for (std::size_t m = 0; m < kTile; ++m) {
            const std::size_t known =
                m < rows ? (m / kScoreRows * kScoreRows + kScoreRows - 1) / lanes() * lanes() + lanes() : 0;
            for (float* row : {probability + m * kTile, to_score + m * kTile})
              std::fill(row + std::min(known, kTile), row + kTile, 0.0f);
          }
        const auto queries_of = [&](std::size_t m0, std::size_t) HWY_ATTR {
          return Span{diagonal ? std::min(m0, rows) : 0, rows};
        };
        const auto keys_of = [&](std::size_t m0, std::size_t count) HWY_ATTR {
          return Span{0, diagonal ? std::min(m0 + count, kTile) : kTile};
        };
        add_products(to_values + key * width, probability, 1, kTile, gradient, width, kTile, queries_of);
        add_products(to_keys + key * width, to_score, 1, kTile, query, width, kTile, queries_of);
        add_products(to_query, to_score, kTile, 1, keys + key * width, width, rows, keys_of);
      }
      unpack_prepared<T>(job, layout, head, to_query, first, rows, job.scale);
    }
  }
  // The packed queries were times scale · log2(e).
  unpack_prepared<T>(job, layout, key_head, to_keys, 0, layout.length, kLn2);
  unpack_rows(to_values, layout, 0, layout.length, 1.0f,
              static_cast<T*>(job.qkv_gradient.data) + layout.head(job, value_head), Layout::row(job));
}

std::size_t attend_backward_scratch(const Layout& layout) {
  return 5 * layout.matrix() + kTile * (3 * layout.width + 2 * kTile + 2);
}

void CausalAttentionBackwardUnits(const CausalAttention& job, std::size_t begin, std::size_t end, float* scratch) {
  for (std::size_t unit = begin; unit < end; ++unit) {
    const Layout layout(job, unit);
    with_element(job.qkv, [&](auto* element) {
      attend_backward<std::remove_pointer_t<decltype(element)>>(job, layout, scratch);
    });
  }
}

std::size_t CausalAttentionScratch(const CausalAttention& job) {
  const Layout layout(job, 0);
  return std::max(attend_scratch(layout), attend_backward_scratch(layout));
}

}  // namespace HWY_NAMESPACE
}  // namespace par5::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace par5::kernels {

HWY_EXPORT(CausalAttentionScratch);
HWY_EXPORT(CausalAttentionUnits);
HWY_EXPORT(CausalAttentionBackwardUnits);

std::size_t causal_attention_scratch(const CausalAttention& job) {
  return HWY_DYNAMIC_DISPATCH(CausalAttentionScratch)(job);
}
void causal_attention(const CausalAttention& job, std::size_t begin, std::size_t end, float* scratch) {
  HWY_DYNAMIC_DISPATCH(CausalAttentionUnits)(job, begin, end, scratch);
}
void causal_attention_backward(const CausalAttention& job, std::size_t begin, std::size_t end, float* scratch) {
  HWY_DYNAMIC_DISPATCH(CausalAttentionBackwardUnits)(job, begin, end, scratch);
}

}  // namespace par5::kernels
#endif
