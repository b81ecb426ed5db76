// Muon's update: the orthogonalised direction of a matrix gradient, by a Newton–Schulz iteration.
#pragma once

#include <cstdint>

#include "core/config.h"
#include "model/tensor.h"

namespace par5 {

// How a matrix is brought near its polar factor U·Vᵀ.
struct NewtonSchulz {
  MuonCoefficients coefficients = MuonCoefficients::quintic;
  std::int64_t iterations = 3;
  torch::ScalarType type = torch::kFloat32;  // of the plain form's products: bfloat16, float32, in tests double
  MuonForm form = MuonForm::plain;
  MuonProducts products = MuonProducts::floating;
};

// The matrix [rows, columns] (any type) with its singular values pushed towards 1, at least float32, of the same shape.
// `quintic` is X ← aX + (bA + cA²)X with A = XXᵀ and one triple (a, b, c), from X / ‖X‖ (Jordan's Muon); it leaves
// singular values in about 0.7 … 1.2. `polar_express` has a triple for each of the first five steps and starts from
// X / (1.02·‖X‖) (arXiv 2505.16932); further steps repeat the fifth.
// Form gram: every step multiplies X by a polynomial of A, so the steps are done on the smaller Gram matrix alone and X
// is multiplied once in three steps, never in bfloat16, which would lose the small singular values.
// Of the symmetric products only one half is done. It is taken where that is fewer operations and columns ≥ 1.5 · rows,
// or the reverse.
// Products int16: the same in 16-bit integers (model/int16_kernels.h) on the CPU, unless the type is double; of the
// symmetric products one half in the plain form too.
torch::Tensor newton_schulz(const torch::Tensor& matrix, const NewtonSchulz& options);

// FLOPs of newton_schulz in this form, by the products that it does.
double newton_schulz_flops(std::int64_t rows, std::int64_t columns, const NewtonSchulz& options);

// NorMuon (arXiv 2510.05491): each row of `direction` [rows, columns] is divided by the root of its running mean square
// `row_moments` [rows, 1], which is updated first with decay `beta2`; the result keeps the direction's Frobenius norm.
torch::Tensor normalize_neurons(const torch::Tensor& direction, torch::Tensor row_moments, double beta2);

// Nesterov's momentum: momentum_buffer ← momentum · momentum_buffer + gradient, and the gradient as it would be after
// the next such step, gradient + momentum · momentum_buffer. With `row_norm` each of its rows is divided by
// sqrt(mean(x²) + 2⁻²³); the epsilon is that of every other RMS-norm of the network, so rows whose gradient is nearly
// nothing stay small.
torch::Tensor nesterov_direction(const torch::Tensor& gradient, torch::Tensor momentum_buffer, double momentum,
                                 bool row_norm);

// sqrt(max(1, rows / columns)): what the orthogonalised update is multiplied with.
double muon_scale(std::int64_t rows, std::int64_t columns);

}  // namespace par5
