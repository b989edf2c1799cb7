# The resident agent of interop on a Hyper-V host: it calls the cmdlets it is told to, and decides nothing.
#
# Started inline:    powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass -InputFormat Text -OutputFormat Text
#                    -EncodedCommand <bootstrap.ps1>; the first line on stdin is this script in base64, the rest are requests.
# Started installed: powershell.exe ... -ExecutionPolicy AllSigned ... -File <this script>; every line on stdin is a
#                    request, and line 0 of the answers holds the script's SHA-256 ("script", without its signature).
# "This script" is what `python -m harness.agent` prints: this file, with those it includes in their places.
#
# One request is one line of JSON; its steps are done in order until one fails, and share named results:
#   {"id":7,"steps":[{"call":"Get-VM","args":{"Id":"=6d4f..."},"as":"vm"},
#                    {"call":"Start-VM","args":{"VM":{"$ref":"vm"},"Passthru":true},"get":["State"]}]}
#   call   a cmdlet or function, never a program or an alias
#   args   values by parameter: a text with "=" before it (so that none looks like a date), null, true, a whole number
#          of 64 bits, a list; {"$ref":"vm.Path"} what a step of this request named (or a property of it),
#          {"$as":["uint16",5]} that type made of a value, {"$map":[["=key",1],...]} a hashtable
#   as     the name of what the step returned           get    the properties that the answer shall hold, "." for all
#   where  [["MacAddress","^0015"],["Size",1024],...]: keep only what fits all these regular expressions, compared as
#          text, and is less than all these numbers
#   when   only if the step of that name returned something    unless  only if it returned nothing
#   within asked again until it returns something, at most so many seconds: nobody has to ask from afar
#   allow  ["ErrorId"]: such an error is "returned nothing"
# One answer is one line, all of it in 0x20-0x7e; other lines are noise of cmdlets. Line 0 says that the agent is ready:
#   @HV1 7 {"ok":true,"results":[[],[{"State":"Running"}]]}
#   @HV1 8 {"ok":false,"step":0,"id":"...","category":"...","hresult":-2146233087,"message":"...","results":[...]}
# An id seen before is answered with what was said then: a request whose answer got lost is done once.
begin {
    $global:ErrorActionPreference = 'Stop'
    $global:ProgressPreference = $global:WarningPreference = 'SilentlyContinue'
    $global:ConfirmPreference = 'None'
    Set-StrictMode -Version 2
    $said = [Collections.Specialized.OrderedDictionary]::new()
    #include values.ps1
    #include files.ps1
    #include console.ps1

    function Write-Answer($id, $answer) {
        $text = ConvertTo-Json -Compress -Depth 16 -InputObject $answer
        $line = "@HV1 $id " + [regex]::Replace($text, '[^\x20-\x7e]', { '\u{0:x4}' -f [int][char]$args[0].Value })
        $said["$id"] = $line
        if ($said.Count -gt 8) { $said.RemoveAt(0) }
        [Console]::Out.WriteLine($line)
        [Console]::Out.Flush()
    }

    function Invoke-Step($step, $names) {
        $has = @(foreach ($one in $step.PSObject.Properties) { $one.Name })
        if ('as' -in $has) { $names[$step.as] = @() }
        if ('when' -in $has -and $names[$step.when].Count -eq 0) { return , @() }
        if ('unless' -in $has -and $names[$step.unless].Count -gt 0) { return , @() }
        $command = $ExecutionContext.InvokeCommand.GetCommand($step.call, 'Cmdlet, Function')
        if ($null -eq $command) { throw [Management.Automation.CommandNotFoundException]"there is no cmdlet $($step.call)" }
        $given = @{ ErrorAction = 'Stop' }
        foreach ($one in $step.args.PSObject.Properties) { $given[$one.Name] = Resolve-Argument $one.Value $names }
        $clock = [Diagnostics.Stopwatch]::StartNew()
        while ($true) {
            try { $out = @(& $command @given) }
            catch {
                if ('allow' -notin $has -or $_.FullyQualifiedErrorId.Split(',')[0] -notin $step.allow) { throw }
                $out = @()
            }
            if ('where' -in $has) { $out = @($out | Where-Object { Test-Fit $_ $step.where }) }
            if ($out.Count -gt 0 -or 'within' -notin $has -or $clock.Elapsed.TotalSeconds -ge $step.within) { break }
            [Threading.Thread]::Sleep(100)
        }
        if ('as' -in $has) { $names[$step.as] = $out }
        if ('get' -notin $has) { return , @() }
        return , @(foreach ($object in $out) { Show-Object $object $step.get })
    }

    try {
        Import-Module -Name Hyper-V # now: loading it inside the first request has taken longer than requests may
        $ready = @{ ok = $true; engine = "$($Host.Version)"; process = $PID; results = @() }
        if ($PSCommandPath) { $ready.script = Get-ScriptDigest }
        Write-Answer 0 $ready
    } catch { Write-Answer 0 (Get-Failure $_ -1 @()) }
}
process {
    if ("$_".Trim() -eq '') { return }
    $id = -1
    $at = -1
    $results = [Collections.ArrayList]::new()
    try {
        $request = ConvertFrom-Json -InputObject $_
        $id = $request.id
        if ($said.Contains("$id")) { [Console]::Out.WriteLine($said["$id"]); [Console]::Out.Flush(); return }
        $names = @{}
        $room.left = 8MB
        foreach ($step in @($request.steps)) {
            $at++
            $null = $results.Add((Invoke-Step $step $names))
        }
        Write-Answer $id @{ ok = $true; results = $results.ToArray() }
    } catch { Write-Answer $id (Get-Failure $_ $at $results.ToArray()) }
}
end {
    $null = $input # the console host hands stdin to the pipeline of those scripts alone that use this word
    foreach ($one in $pumps) { $one[0].Stop() }
}
