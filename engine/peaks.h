// What one thread of this machine can do at most, measured: beside it a kernel's figures say something on any machine.
#pragma once

#include <cstddef>

namespace par5 {

// Operations per second from registers alone, a multiply-add being two; 0 where the CPU lacks the instructions.
struct Peaks {
  double fp32 = 0, fp32_avx2 = 0, bf16 = 0, int8 = 0;
  double read = 0;  // bytes per second of a plain sum over memory of the size asked for, which was just read
};
// Takes some tens of milliseconds.
Peaks measure_peaks(std::size_t read_bytes);

// Processor time of the calling thread in seconds.
double thread_seconds();

}  // namespace par5
