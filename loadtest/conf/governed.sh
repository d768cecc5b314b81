"$kt" teams create --data-dir "$governed_data" --name load --models 'gpt-*' >/dev/null
key[governed]=$(make_key governed load --team load --models 'gpt-4o*' --endpoints 'chat/*' --expires 90d)
