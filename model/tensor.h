// The part of LibTorch that par5 uses. This is the precompiled header of every LibTorch unit (cmake/torch.cmake), so
// nothing narrower is faster; <torch/torch.h> costs three times as much.
#pragma once

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/generated/variable_factories.h>
#include <torch/types.h>
#include <torch/utils.h>
