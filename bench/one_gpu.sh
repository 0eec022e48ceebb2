#!/bin/sh
# The training step on one GPU: trireme's beside transformers' (bench/peer.py), one table at the end.
#
#   bench/one_gpu.sh [-o RESULTS.jsonl] [CASE...]      without arguments the cases of README's table; all: run_case below
#
# Cases named -80g run within 80 GiB, as on a card of that size; what does not fit goes to the host.
#
# Needs build/bin/trireme (or $TRIREME) built for CUDA, and a python3 with torch, transformers, peft and liger-kernel.
# Each line of the results is one process: its JSON, or what made it end.
# shellcheck disable=SC2086,SC1003  # lists of options are split into words; a backslash, not an escape
set -u
here=$(dirname "$0")
trireme=${TRIREME:-$here/../build/bin/trireme}
results=one_gpu.jsonl
if [ "${1:-}" = -o ]; then results=$2; shift 2; fi
: >"$results"
export PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True

record() {  # case program command...: runs, and records the last line of JSON or of the error
  name=$1 program=$2; shift 2
  printf '== %s: %s\n' "$name" "$program" >&2
  line=$("$@" 2>"$results.error" | grep '^{' | tail -n 1)
  [ -n "$line" ] || line="{\"failed\": \"$(grep -v '^$' "$results.error" | tail -n 1 | tr -d '"\\' | cut -c 1-160)\"}"
  printf '{"case": "%s", "program": "%s", %s\n' "$name" "$program" "${line#?}" >>"$results"
}

ours() {  # case program options...
  name=$1 program=$2; shift 2
  record "$name" "$program" "$trireme" bench --device cuda "$@"
}

peer() {  # case stack options...
  name=$1 stack=$2; shift 2
  record "$name" "$stack" python3 "$here/peer.py" --stack "$stack" "$@"
}

LORA="--use_lora true --lora_r 16 --lora_alpha 32 --target_modules q_proj,k_proj,v_proj,o_proj"

# one_case NAME SHAPE TRAIN LENGTH STACKS: a step of 128K tokens takes most of a minute and is not repeated often.
one_case() {
  case=$1 shape=$2 train=$3 length=$4 stacks=$5
  flags=""; [ "$train" = full ] || flags=$LORA
  steps=6 least=2 cold="" profile=true
  if [ "$length" -ge 131072 ]; then steps=2 least=1 cold="--cold --steps 1" profile=false; fi
  # shellcheck disable=SC2086
  ours "$case" trireme --shape "$shape" --length "$length" --steps "$steps" $flags --profile "$profile" --bound true
  # shellcheck disable=SC2086
  ours "$case" "trireme --keep none" --shape "$shape" --length "$length" --steps "$least" $flags --keep none
  for stack in $stacks; do
    # shellcheck disable=SC2086
    peer "$case" "$stack" --shape "$shape" --train "$train" --length "$length" $cold
  done
}

CARD="--device_memory 80GiB"

offload() {  # case length steps: what is saved on the device, and all of it on the host
  for place in none all; do
    ours "$1" "offload $place" --shape qwen3-8b --length "$2" --steps "$3" $LORA --offload_activations "$place"
  done
}

STREAMED="--offload_optimizer stream --optimizer_in_backward true"
SMALL="--moments_dtype 8bit --master_weights false --optimizer_in_backward true"

# case length steps place...: full fine-tuning with fp32 masters and moments there; the same activations in each
optimizers() {
  name=$1 length=$2 steps=$3; shift 3
  for place in "$@"; do
    # shellcheck disable=SC2086
    ours "$name" "optimizer $place" --shape qwen3-8b --length "$length" --steps "$steps" --keep none --bound true \
      --optimizer_in_backward true --offload_optimizer $place
  done
}

run_case() {
  case $1 in
    8b-lora-8k) one_case "$1" qwen3-8b lora 8192 "fast best" ;;
    8b-lora-32k) one_case "$1" qwen3-8b lora 32768 "best fast" ;;
    8b-lora-128k) one_case "$1" qwen3-8b lora 131072 best ;;
    8b-lora-256k) ours "$1" trireme --shape qwen3-8b --length 262144 --steps 1 $LORA ;;
    1.7b-full-8k) one_case "$1" qwen3-1.7b full 8192 "fast best" ;;
    1.7b-full-32k) one_case "$1" qwen3-1.7b full 32768 "fast best" ;;
    30b-lora-8k) one_case "$1" qwen3-30b-a3b lora 8192 "fast best" ;;
    30b-lora-32k) one_case "$1" qwen3-30b-a3b lora 32768 best ;;
    8b-lora-packed)
      ours "$1" trireme --shape qwen3-8b --length 270 --documents 64 --steps 6 $LORA --profile true --bound true
      peer "$1" fast --shape qwen3-8b --length 270 --documents 64 --batch 16 ;;
    8b-lora-128k-80g) ours "$1" trireme --shape qwen3-8b --length 131072 --steps 2 $LORA --bound true $CARD ;;
    8b-lora-256k-80g) ours "$1" trireme --shape qwen3-8b --length 262144 --steps 1 $LORA --bound true $CARD ;;
    8b-lora-384k) ours "$1" trireme --shape qwen3-8b --length 393216 --steps 1 $LORA --bound true ;;
    8b-width-1m) ours "$1" trireme --shape qwen3-8b --layers 8 --length 1048576 --steps 1 $LORA ;;
    30b-lora-128k-80g) ours "$1" trireme --shape qwen3-30b-a3b --length 131072 --steps 2 $LORA --bound true $CARD ;;
    30b-lora-256k) ours "$1" trireme --shape qwen3-30b-a3b --length 262144 --steps 1 $LORA --bound true ;;
    30b-lora-32k-40g)  # the base on the host: a card that does not hold it
      ours "$1" trireme --shape qwen3-30b-a3b --length 32768 --steps 3 $LORA --offload_param cpu --device_memory 40GiB \
        --bound true ;;
    8b-full-128k-80g) ours "$1" trireme --shape qwen3-8b --length 131072 --steps 1 $STREAMED --bound true $CARD ;;
    30b-full-64k) ours "$1" trireme --shape qwen3-30b-a3b --length 65536 --steps 1 $SMALL --bound true ;;
    30b-full-falls)  # on a repeated batch
      ours "$1" trireme --shape qwen3-30b-a3b --length 4096 --steps 20 $SMALL --learning_rate 1e-4 ;;
    8b-optimizer-4k) optimizers "$1" 4096 4 none stream cpu ;;  # what an optimizer on the host costs
    8b-optimizer-32k) optimizers "$1" 32768 4 none stream cpu ;;
    8b-offload-64k) offload "$1" 65536 3 ;;   # what copies to the host cost where everything fits
    8b-offload-128k) offload "$1" 131072 2 ;;
    8b-lora-budgets)  # tokens/s over the memory that may be used
      for budget in 20 24 32 40 80; do
        ours "$1" "trireme at $budget GiB" --shape qwen3-8b --length 8192 --steps 4 $LORA --device_memory "${budget}GiB"
      done ;;
    *) printf 'unknown case %s\n' "$1" >&2; exit 2 ;;
  esac
}

[ $# -gt 0 ] || set -- 8b-lora-8k 8b-lora-32k 8b-lora-128k 8b-lora-256k 1.7b-full-8k 1.7b-full-32k 30b-lora-8k \
  30b-lora-32k 8b-lora-packed 8b-lora-budgets
for case in "$@"; do run_case "$case"; done
rm -f "$results.error"
python3 "$here/one_gpu_table.py" "$results"
