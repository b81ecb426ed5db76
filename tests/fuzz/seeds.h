// Valid inputs of every fuzz target, from which mutation starts; PAR5_REFRESH=1 writes them to tests/fuzz/corpus.
#pragma once

#include <string>
#include <vector>

#include "tests/fuzz/target.h"

namespace par5::fuzz {

struct Seed {
  std::string target;
  std::string name;
  Bytes bytes;
};
std::vector<Seed> seeds();

}  // namespace par5::fuzz
