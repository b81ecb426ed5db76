#include "train/muon.h"

#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "model/int16_kernels.h"
#include "model/kernels.h"
#include "model/word_transpose.h"

namespace par5 {
namespace {

using Triple = std::array<double, 3>;

constexpr Triple kQuintic = {3.4445, -4.7750, 2.0315};
// modded-nanogpt's values for five steps with the safety factor 1.02.
constexpr std::array<Triple, 5> kPolarExpress = {{{8.15655, -22.48329, 15.87877},
                                                  {4.04293, -2.80892, 0.50002},
                                                  {3.89167, -2.77248, 0.50606},
                                                  {3.28575, -2.36813, 0.46449},
                                                  {2.34654, -1.70978, 0.42324}}};
constexpr double kPolarExpressSafety = 1.02;
constexpr double kSmallestNorm = 1e-7;  // added to norms

const Triple& triple(MuonCoefficients coefficients, std::int64_t iteration) {
  if (coefficients == MuonCoefficients::quintic) return kQuintic;
  return kPolarExpress[static_cast<std::size_t>(std::min<std::int64_t>(iteration, 4))];
}

// Blocks of rows in which half of a symmetric product is done: more save more operations, fewer keep the products
// large.
std::int64_t symmetric_blocks(std::int64_t rows) { return std::clamp<std::int64_t>(rows / 96, 1, 8); }

// The rows of a float32 matrix in 16-bit integers, its columns times `factors` before where they are not null.
struct RoundedRows {
  explicit RoundedRows(const torch::Tensor& matrix, const float* factors = nullptr) {
    rows.rows = static_cast<std::size_t>(matrix.size(0)), rows.inner = static_cast<std::size_t>(matrix.size(1));
    codes = torch::empty({matrix.size(0), static_cast<std::int64_t>(rows.padded())}, torch::kInt16);
    scales = torch::empty({matrix.size(0)}, torch::kFloat32);
    rows.codes = codes.mutable_data_ptr<std::int16_t>(), rows.scales = scales.mutable_data_ptr<float>();
    kernels::quantize_int16_rows(matrix.const_data_ptr<float>(), factors, rows);
  }
  torch::Tensor codes, scales;
  kernels::Int16Rows rows;
};

// A matrix that is rounded once, when that is first needed.
class Operand {
 public:
  Operand() = default;
  explicit Operand(torch::Tensor matrix) : values(std::move(matrix)) {}
  const kernels::Int16Rows& rounded() const {
    if (!rounded_) rounded_.emplace(values);
    return rounded_->rows;
  }
  torch::Tensor values;

 private:
  mutable std::optional<RoundedRows> rounded_;
};

torch::Tensor room_for_panels(std::int64_t inner, std::int64_t columns) {
  const kernels::Int16Panels panels{static_cast<std::size_t>(inner), static_cast<std::size_t>(columns)};
  return torch::empty({static_cast<std::int64_t>(panels.size())}, torch::kInt16);
}

// base_factor · base + alpha · A·Bᵀ, where both are known to be symmetric: the blocks on and below the diagonal, and
// their mirror image. A base that is not defined is zero.
torch::Tensor symmetric_product(const NewtonSchulz& options, const torch::Tensor& base, double base_factor,
                                const Operand& a, const Operand& b, double alpha) {
  const std::int64_t rows = a.values.size(0), blocks = symmetric_blocks(rows);
  torch::Tensor out = torch::empty({rows, rows}, a.values.options());
  if (options.products == MuonProducts::int16) {
    torch::Tensor panels = room_for_panels(b.values.size(1), rows);
    const kernels::Int16Panels packed =
        kernels::pack_int16_transposed(b.rounded(), panels.mutable_data_ptr<std::int16_t>());
    float* const sums = out.mutable_data_ptr<float>();
    kernels::int16_product(a.rounded(), packed, static_cast<float>(alpha), /*lower=*/true,
                           base.defined() ? base.const_data_ptr<float>() : nullptr, static_cast<float>(base_factor),
                           sums);
    kernels::mirror_lower(sums, static_cast<std::size_t>(rows));
    return out;
  }
  for (std::int64_t block = 0; block < blocks; ++block) {
    const std::int64_t begin = rows * block / blocks, end = rows * (block + 1) / blocks, count = end - begin;
    const auto part = [&](const torch::Tensor& whole) { return whole.narrow(0, begin, count).narrow(1, 0, end); };
    torch::Tensor result = part(out);
    const torch::Tensor left = a.values.narrow(0, begin, count), right = b.values.narrow(0, 0, end).t();
    at::addmm_out(result, base.defined() ? part(base) : result, left, right, base.defined() ? base_factor : 0, alpha);
    if (begin > 0) out.narrow(0, 0, begin).narrow(1, begin, count).copy_(result.narrow(1, 0, begin).t());
  }
  return out;
}

// LibTorch's operations take longer to begin than these loops to end.
bool is_plain(const torch::Tensor& tensor) {
  return tensor.is_cpu() && tensor.is_contiguous() && tensor.scalar_type() == torch::kFloat32;
}
double diagonal_sum(const torch::Tensor& square) {
  if (!is_plain(square)) return square.diagonal().sum(torch::kFloat64).item<double>();
  const float* const values = square.const_data_ptr<float>();
  double sum = 0;
  for (std::int64_t i = 0; i < square.size(0); ++i) sum += values[i * (square.size(0) + 1)];
  return sum;
}
void subtract_from_diagonal(torch::Tensor square, double number) {
  if (!is_plain(square)) {
    square.diagonal().sub_(number);
    return;
  }
  float* const values = square.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < square.size(0); ++i) values[i * (square.size(0) + 1)] -= static_cast<float>(number);
}

// A symmetric matrix scalar·I + rest, where the rest's diagonal has the mean 0: the multiple of I, on which alone the
// directions of small singular values live, stays apart from what is rounded.
struct Shifted {
  Shifted() = default;
  Shifted(double multiple, torch::Tensor other) : rest(std::move(other)) {
    const double mean = diagonal_sum(rest.values) / static_cast<double>(rest.values.size(0));
    subtract_from_diagonal(rest.values, mean);
    scalar = multiple + mean;
  }
  double scalar = 0;
  Operand rest;
};

// aI + bA + cA².
Shifted polynomial(const NewtonSchulz& options, const Triple& coefficients, const Shifted& square) {
  const auto [a, b, c] = coefficients;
  return {a + b * square.scalar + c * square.scalar * square.scalar,
          symmetric_product(options, square.rest.values, b + 2 * c * square.scalar, square.rest, square.rest, c)};
}

// Of two that commute.
Shifted product(const NewtonSchulz& options, const Shifted& a, const Shifted& b) {
  if (std::abs(a.scalar) < std::abs(b.scalar)) return product(options, b, a);
  // (α + A)(β + B) = αβ + α·(B + β/α·A) + AB.
  const torch::Tensor linear =
      a.scalar == 0 ? torch::Tensor() : torch::add(b.rest.values, a.rest.values, b.scalar / a.scalar);
  return {a.scalar * b.scalar, symmetric_product(options, linear, a.scalar, a.rest, b.rest, 1)};
}

// scale · A·X.
torch::Tensor product(const NewtonSchulz& options, const Shifted& a, const Operand& x, double scale) {
  if (options.products == MuonProducts::floating)
    return torch::addmm(x.values, a.rest.values, x.values, a.scalar * scale, /*alpha=*/scale);
  // The scales of X's rows are those of A's columns.
  const kernels::Int16Rows& right = x.rounded();
  const RoundedRows left(a.rest.values, right.scales);
  torch::Tensor panels = room_for_panels(x.values.size(0), x.values.size(1)), result = torch::empty_like(x.values);
  const kernels::Int16Panels packed = kernels::pack_int16(right, panels.mutable_data_ptr<std::int16_t>());
  kernels::int16_product(left.rows, packed, static_cast<float>(scale), /*lower=*/false,
                         x.values.const_data_ptr<float>(), static_cast<float>(a.scalar * scale),
                         result.mutable_data_ptr<float>());
  return result;
}

// The transpose of a matrix, not a view of it.
torch::Tensor transposed(const torch::Tensor& matrix) {
  if (!is_plain(matrix)) return matrix.t().contiguous();
  torch::Tensor result = torch::empty({matrix.size(1), matrix.size(0)}, matrix.options());
  const auto rows = static_cast<std::size_t>(matrix.size(0)), columns = static_cast<std::size_t>(matrix.size(1));
  kernels::transpose_words(matrix.const_data_ptr<float>(), columns, rows, columns, result.mutable_data_ptr<float>(),
                           rows);
  return result;
}

double safety(MuonCoefficients coefficients) {
  return coefficients == MuonCoefficients::polar_express ? kPolarExpressSafety : 1.0;
}

torch::Tensor plain_form(torch::Tensor x, const NewtonSchulz& options) {
  for (std::int64_t i = 0; i < options.iterations; ++i) {
    const auto [a, b, c] = triple(options.coefficients, i);
    const torch::Tensor square = torch::mm(x, x.t());
    x = torch::addmm(x, torch::addmm(square, square, square, /*beta=*/b, /*alpha=*/c), x, /*beta=*/a, /*alpha=*/1.0);
  }
  return x;
}

// After so many steps on a Gram matrix X is multiplied, and the Gram matrix taken anew: the squares of small singular
// values, lost in it beside the largest, have grown by then. In integers they are lost sooner where they grow faster.
std::int64_t gram_steps(const NewtonSchulz& options) {
  return options.products == MuonProducts::int16 && options.coefficients == MuonCoefficients::polar_express ? 2 : 3;
}

// P = aI + bA + cA² of every step commutes with A, so that after it A is P·A·P and the product of all P so far is one
// symmetric matrix; so are the products on the way, of which one half is enough. `together` steps are done on one Gram
// matrix. X need not have been divided by its norm, which the first Gram matrix's trace has.
torch::Tensor gram_form(torch::Tensor values, std::int64_t together, const NewtonSchulz& options) {
  for (std::int64_t first = 0; first < options.iterations; first += together) {
    const std::int64_t end = std::min(first + together, options.iterations);
    const Operand x(values);
    torch::Tensor gram = symmetric_product(options, {}, 0, x, x, 1);
    double scale = 1;
    if (first == 0) {
      const double norm = std::sqrt(diagonal_sum(gram));
      scale = 1 / (norm * safety(options.coefficients) + kSmallestNorm);
      gram.mul_(scale * scale);
    }
    Shifted square(0, gram), all;
    for (std::int64_t i = first; i < end; ++i) {
      const Shifted step = polynomial(options, triple(options.coefficients, i), square);
      all = i == first ? step : product(options, step, all);
      if (i + 1 < end) square = product(options, step, product(options, square, step));
    }
    values = product(options, all, x, scale);
  }
  return values;
}

// Operations of both forms by the products that they do; `rows` is the smaller side.
struct FormFlops {
  double plain = 0, gram = 0;
};
FormFlops form_flops(std::int64_t rows, std::int64_t columns, const NewtonSchulz& options) {
  const bool integers = options.products == MuonProducts::int16;
  const auto small = static_cast<double>(rows), steps = static_cast<double>(options.iterations);
  const std::int64_t together = gram_steps(options);
  const auto segments = static_cast<double>((options.iterations + together - 1) / together);
  const auto blocks =
      integers ? std::ceil(small / kernels::Int16Panels::kColumns) : static_cast<double>(symmetric_blocks(rows));
  const double square = 2 * small * small * small, wide = 2 * small * small * static_cast<double>(columns);
  const double half = (blocks + 1) / (2 * blocks), plain_half = integers ? half : 1;
  return {steps * ((1 + plain_half) * wide + plain_half * square),
          segments * (1 + half) * wide + half * (steps + 3 * (steps - segments)) * square};
}

bool takes_gram_form(std::int64_t rows, std::int64_t columns, const NewtonSchulz& options) {
  // Squares can have singular values whose squares are lost beside the largest; wide matrices hardly do.
  const FormFlops flops = form_flops(rows, columns, options);
  return options.form == MuonForm::gram && 2 * columns >= 3 * rows && flops.gram <= flops.plain;
}

}  // namespace

double newton_schulz_flops(std::int64_t rows, std::int64_t columns, const NewtonSchulz& options) {
  const auto [small, large] = std::minmax(rows, columns);
  const FormFlops flops = form_flops(small, large, options);
  return takes_gram_form(small, large, options) ? flops.gram : flops.plain;
}

torch::Tensor nesterov_direction(const torch::Tensor& gradient, torch::Tensor momentum_buffer, double momentum,
                                 bool row_norm) {
  const double epsilon = std::ldexp(1.0, -23);
  if (gradient.dim() != 2 || !is_plain(gradient) || !is_plain(momentum_buffer)) {
    momentum_buffer.mul_(momentum).add_(gradient);
    const torch::Tensor direction = gradient.add(momentum_buffer, momentum).to(torch::kFloat32);
    return row_norm ? direction * torch::rsqrt(direction.square().mean(1, /*keepdim=*/true) + epsilon) : direction;
  }
  torch::Tensor direction = torch::empty_like(gradient);
  kernels::NesterovRows job;
  job.width = static_cast<std::size_t>(gradient.size(1));
  job.decay = static_cast<float>(momentum), job.norm = row_norm, job.epsilon = static_cast<float>(epsilon);
  job.gradient = gradient.const_data_ptr<float>(), job.momentum = momentum_buffer.mutable_data_ptr<float>();
  job.direction = direction.mutable_data_ptr<float>();
  kernels::nesterov_rows(job, 0, static_cast<std::size_t>(gradient.size(0)));
  return direction;
}

torch::Tensor newton_schulz(const torch::Tensor& matrix, const NewtonSchulz& requested) {
  const bool tall = matrix.size(0) > matrix.size(1);
  const torch::ScalarType wide = requested.type == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
  NewtonSchulz options = requested;
  if (!matrix.is_cpu() || wide != torch::kFloat32) options.products = MuonProducts::floating;
  torch::Tensor x = matrix.to(wide);
  // The smaller side goes first, so that A = XXᵀ is the smaller of the two squares.
  if (tall) x = transposed(x);
  const bool gram = takes_gram_form(x.size(0), x.size(1), options);
  if (gram || options.products == MuonProducts::int16)
    x = gram_form(x.contiguous(), gram ? gram_steps(options) : 1, options);
  else
    x = plain_form((x / (x.norm() * safety(options.coefficients) + kSmallestNorm)).to(options.type), options);
  x = x.to(wide);
  return tall ? transposed(x) : x;
}

torch::Tensor normalize_neurons(const torch::Tensor& direction, torch::Tensor row_moments, double beta2) {
  row_moments.mul_(beta2).add_(direction.square().mean(1, /*keepdim=*/true), 1.0 - beta2);
  const torch::Tensor scaled = direction * (row_moments + 1e-10).rsqrt();
  return scaled * (direction.norm() / (scaled.norm() + 1e-10));
}

double muon_scale(std::int64_t rows, std::int64_t columns) {
  return std::sqrt(std::max(1.0, static_cast<double>(rows) / static_cast<double>(columns)));
}

}  // namespace par5
