#!/usr/bin/env bash
# Train a small recurrent network on real text with every diagnostic on, and say how to look at it.
# Arguments are further overrides: scripts/demo.sh cell=gru
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
prepare_environment

run="outputs/demo/$(date +%Y-%m-%d_%H-%M-%S)"
headline "train (into $run)"
rnn-diag-train experiment=demo hydra.run.dir="$run" "$@" || fail "rnn-diag-train experiment=demo $*"
[ -n "$(find "$run" -name 'events.out.tfevents.*')" ] || fail "the run left no TensorBoard event file in $run"

headline "look at it: type this, then open http://localhost:6006"
printf '%q --logdir %q\n' "$VENV/bin/tensorboard" "$PWD/$run"
