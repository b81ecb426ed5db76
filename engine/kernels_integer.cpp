#include "engine/kernels_integer.h"

namespace par5::integer {

Kernels portable() { return {Packing::bits, Packing::bits, false, scalar_kernels().integer_product}; }

}  // namespace par5::integer
