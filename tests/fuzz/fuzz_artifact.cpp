// The container: the bytes as they are, and again with good checksums, behind which the rest of the reader lies.
#include "archive/artifact.h"
#include "pack/architecture.h"
#include "tests/fuzz/target.h"
#include "tests/support/reseal.h"

PAR5_FUZZ_TARGET(artifact) {
  constexpr auto kNoPrograms = par5::ExternalPrograms::refused;
  (void)par5::decode_artifact(bytes, "fuzz", 1, kNoPrograms);
  par5::fuzz::Bytes sealed(bytes.begin(), bytes.end());
  par5::test::reseal(sealed);
  const auto decoded = par5::decode_artifact(sealed, "fuzz", 1, kNoPrograms);
  if (!decoded) return;
  par5::fuzz::require(decoded->report.file_bytes == sealed.size());
  par5::fuzz::require(decoded->artifact.model.tensors.size() ==
                      par5::tensor_specs(decoded->artifact.model.model).size());
}
