// The largest single allocation since the last reset, by C++ code and by the codec libraries (malloc), to hold decoders
// to their bounds.
#pragma once

#include <cstddef>

namespace par5::test {

void reset_largest_allocation();
std::size_t largest_allocation();

}  // namespace par5::test
