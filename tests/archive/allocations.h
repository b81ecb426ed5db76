// The largest single allocation by operator new since the last reset, to hold decoders to their bounds.
#pragma once

#include <cstddef>

namespace par5::test {

void reset_largest_allocation();
std::size_t largest_allocation();

}  // namespace par5::test
