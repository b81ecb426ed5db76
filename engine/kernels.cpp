#include "engine/kernels.h"

#include <string>

#include "core/text.h"

namespace par5 {

std::size_t activation_words(const PackedMatrix& matrix, std::size_t rows) {
  if (matrix.format == PackedFormat::columns)
    return matrix.groups * matrix.lines * (rows < kSharedRows ? kTableWords : 1);
  return matrix.groups * matrix.lines * inputs_per_word(matrix.format) / 4;
}

std::size_t table_floats(const PackedMatrix& matrix) {
  const std::size_t pairs = (matrix.group + 1) / 2;
  return matrix.format == PackedFormat::pairs ? matrix.groups * pairs * kPairPlaces : matrix.inputs * kMultiples;
}

std::vector<const Kernels*> available_kernels() {
  std::vector<const Kernels*> kernels = vector_kernels();
  kernels.push_back(&scalar_kernels());
  return kernels;
}

Result<const Kernels*> find_kernels(std::string_view name) {
  std::vector<std::string> names;
  for (const Kernels* kernels : available_kernels()) {
    if (name.empty() || name == kernels->name) return kernels;
    names.emplace_back(kernels->name);
  }
  return usage_error("the kernel '" + std::string(name) + "' is not available here; this CPU has " + join(names, ", "),
                     "kernel");
}

}  // namespace par5
