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
  torch::ScalarType type = torch::kFloat32;  // float32 or bfloat16: the type of the iteration's products
};

// The matrix [rows, columns] (any type) with its singular values pushed towards 1, as float32 of the same shape.
// `quintic` is X ← aX + (bA + cA²)X with A = XXᵀ and one triple (a, b, c), from X / ‖X‖ (Jordan's Muon); it leaves
// singular values in about 0.7 … 1.2. `polar_express` has a triple for each of the first five steps and starts from
// X / (1.02·‖X‖) (arXiv 2505.16932); further steps repeat the fifth.
torch::Tensor newton_schulz(const torch::Tensor& matrix, const NewtonSchulz& options);

// rms(x) = x / sqrt(mean(x²) + 2⁻²³) over each row, as float32. The epsilon is that of every other RMS-norm of the
// network, so rows whose gradient is nearly nothing stay small.
torch::Tensor normalize_rows(const torch::Tensor& matrix);

// sqrt(max(1, rows / columns)): what the orthogonalised update is multiplied with.
double muon_scale(std::int64_t rows, std::int64_t columns);

}  // namespace par5
