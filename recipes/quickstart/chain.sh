#!/usr/bin/env bash
# The whole chain on builtin:tiny: SFT, then DPO and KTO from it, then RLVR, and one table at the end.
# Runs land in ./runs; run it again and what is finished is not done again.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

posttrain sft "$here/sft.yaml" | posttrain dpo "$here/dpo.yaml" --model - | posttrain rlvr "$here/rlvr.yaml" --model -
posttrain kto "$here/kto.yaml" --model runs/sft
posttrain eval "$here/eval.yaml" --unseen \
  --model base --model runs/sft --model runs/dpo --model runs/kto --model runs/rlvr
