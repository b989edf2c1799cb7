# The resident agent of interop on a Hyper-V host: it calls the cmdlets it is told to, and decides nothing.
#
# Started inline:    powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass -InputFormat Text -OutputFormat Text
#                    -EncodedCommand <bootstrap.ps1>; the first line on stdin is this file in base64, the rest are requests.
# Started installed: powershell.exe ... -ExecutionPolicy AllSigned ... -File <this file>; every line on stdin is a request,
#                    and line 0 of the answers holds this file's SHA-256 ("script", without its signature).
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
    $room = @{ left = 0 }
    if ($PSVersionTable.PSVersion.Major -lt 6) { Remove-TypeData -TypeName System.Array } # or arrays become {value, Count} in JSON
    $pumps = [Collections.ArrayList]::new()

    function Write-Answer($id, $answer) {
        $text = ConvertTo-Json -Compress -Depth 16 -InputObject $answer
        $line = "@HV1 $id " + [regex]::Replace($text, '[^\x20-\x7e]', { '\u{0:x4}' -f [int][char]$args[0].Value })
        $said["$id"] = $line
        if ($said.Count -gt 8) { $said.RemoveAt(0) }
        [Console]::Out.WriteLine($line)
        [Console]::Out.Flush()
    }

    function New-Failure($id, $category, $message) {
        [Management.Automation.ErrorRecord]::new([Exception]::new($message), $id, $category, $null)
    }

    function Read-Property($object, [string]$path) {
        foreach ($part in $path.TrimEnd('?').Split('.')) {
            if ($part -eq '') { continue }
            if ($path.EndsWith('?') -and ($null -eq $object -or $null -eq $object.PSObject.Properties[$part])) { return $null }
            $object = $object.$part
        }
        return , $object
    }

    function Resolve-Argument($value, $names) {
        if ($value -is [string]) { return $value.Substring(1) }
        if ($value -is [array]) {
            $list = [object[]]::new($value.Count)
            for ($at = 0; $at -lt $list.Count; $at++) { $list[$at] = Resolve-Argument $value[$at] $names }
            return , $list
        }
        if ($value -isnot [Management.Automation.PSCustomObject]) { return $value }
        $form = @($value.PSObject.Properties)[0]
        if ($form.Name -eq '$ref') {
            $name, $path = $form.Value.Split([char[]]'.', 2)
            if (-not $names.ContainsKey($name) -or $names[$name].Count -eq 0) {
                throw (New-Failure 'NothingNamed' 'ObjectNotFound' "there is no $name")
            }
            $found = $names[$name]
            if ($found.Count -eq 1) { $found = $found[0] }
            if ($path) { $found = Read-Property $found $path }
            return , $found
        }
        if ($form.Name -eq '$as') {
            $raw = Resolve-Argument $form.Value[1] $names
            return , [Management.Automation.LanguagePrimitives]::ConvertTo($raw, [type]$form.Value[0])
        }
        if ($form.Name -ne '$map') { throw "an argument of the unknown form $($form.Name)" }
        $map = @{}
        foreach ($pair in $form.Value) { $map[(Resolve-Argument $pair[0] $names)] = Resolve-Argument $pair[1] $names }
        return $map
    }

    function Show-Value($value) {
        if ($null -eq $value) { return $null }
        $value = $value.PSObject.BaseObject
        $room.left -= 8
        if ($value -is [enum]) { $value = "$value" }
        elseif ($value -is [datetime]) { $value = $value.ToUniversalTime().ToString('o') }
        elseif ($value -is [timespan]) { $value = $value.TotalSeconds }
        elseif ($value -is [switch]) { $value = [bool]$value }
        elseif ($value -is [byte[]]) { $value = [Convert]::ToBase64String($value) }
        if ($value -is [decimal] -or ($value.GetType().IsPrimitive -and $value -isnot [char])) { return $value }
        if ($value -is [Collections.IDictionary]) {
            $map = @{}
            foreach ($key in @($value.Keys)) { $map["$key"] = Show-Value $value[$key] }
            return $map
        }
        if ($value -is [Collections.IEnumerable] -and $value -isnot [string]) {
            $list = [Collections.ArrayList]::new()
            foreach ($item in $value) { $null = $list.Add((Show-Value $item)) }
            return , $list.ToArray()
        }
        $text = "$value" # in the invariant culture, as all of PowerShell's own conversions
        $room.left -= $text.Length
        if ($room.left -lt 0) { throw (New-Failure 'AnswerTooLarge' 'LimitsExceeded' 'the answer is larger than 8 MiB') }
        return $text
    }

    function Test-Fit($object, $where) {
        foreach ($rule in $where) {
            $value = Read-Property $object $rule[0]
            $fits = if ($rule[1] -is [string]) { "$(Show-Value $value)" -match $rule[1] } else { $value -lt $rule[1] }
            if (-not $fits) { return $false }
        }
        return $true
    }

    function Invoke-Step($step, $names) {
        if ($step.PSObject.Properties['as']) { $names[$step.as] = @() }
        if ($step.PSObject.Properties['when'] -and $names[$step.when].Count -eq 0) { return , @() }
        if ($step.PSObject.Properties['unless'] -and $names[$step.unless].Count -gt 0) { return , @() }
        $command = $ExecutionContext.InvokeCommand.GetCommand($step.call, 'Cmdlet, Function')
        if ($null -eq $command) { throw [Management.Automation.CommandNotFoundException]"there is no cmdlet $($step.call)" }
        $given = @{ ErrorAction = 'Stop' }
        foreach ($one in $step.args.PSObject.Properties) { $given[$one.Name] = Resolve-Argument $one.Value $names }
        $clock = [Diagnostics.Stopwatch]::StartNew()
        while ($true) {
            try { $out = @(& $command @given) }
            catch {
                if (-not $step.PSObject.Properties['allow'] -or $_.FullyQualifiedErrorId.Split(',')[0] -notin $step.allow) { throw }
                $out = @()
            }
            if ($step.PSObject.Properties['where']) { $out = @($out | Where-Object { Test-Fit $_ $step.where }) }
            if ($out.Count -gt 0 -or -not $step.PSObject.Properties['within']) { break }
            if ($clock.Elapsed.TotalSeconds -ge $step.within) { break }
            [Threading.Thread]::Sleep(100)
        }
        if ($step.PSObject.Properties['as']) { $names[$step.as] = $out }
        $rows = [Collections.ArrayList]::new()
        if ($step.PSObject.Properties['get']) {
            foreach ($object in $out) {
                $row = @{}
                foreach ($path in $step.get) { $row[$path] = Show-Value (Read-Property $object $path) }
                $null = $rows.Add($row)
            }
        }
        return , $rows.ToArray()
    }

    # What no cmdlet does.

    function Receive-InteropFile { # the host fetches a file; what arrived is told, whether it is right is the driver's to say
        [CmdletBinding()] param([string]$Uri, [string]$Token, [string]$Path, [int]$Seconds)
        [Net.ServicePointManager]::SecurityProtocol = [Net.ServicePointManager]::SecurityProtocol -bor 3072 # TLS 1.2
        $request = [Net.WebRequest]::Create($Uri)
        $request.Proxy = $null
        $request.Timeout = $request.ReadWriteTimeout = 60000
        $request.Headers.Add('Authorization', "Bearer $Token")
        $clock = [Diagnostics.Stopwatch]::StartNew()
        $sha = [Security.Cryptography.SHA256]::Create()
        $buffer = [byte[]]::new(1MB)
        $answer = $request.GetResponse()
        try {
            $from = $answer.GetResponseStream()
            $file = [IO.File]::Create($Path)
            try {
                while (($count = $from.Read($buffer, 0, $buffer.Length)) -gt 0) {
                    $file.Write($buffer, 0, $count)
                    $null = $sha.TransformBlock($buffer, 0, $count, $null, 0)
                    if ($clock.Elapsed.TotalSeconds -gt $Seconds) { throw [TimeoutException]"not all of it came within $Seconds s" }
                }
                $null = $sha.TransformFinalBlock($buffer, 0, 0)
                $hash = [BitConverter]::ToString($sha.Hash).Replace('-', '').ToLowerInvariant()
                [pscustomobject]@{ Length = $file.Length; Sha256 = $hash }
            } finally { $file.Dispose() }
        } finally { $answer.Dispose() }
    }

    function Add-InteropChunk { # a piece of a file, where the host cannot fetch it; writing it twice does no harm
        [CmdletBinding()] param([string]$Path, [long]$Offset, [string]$Data)
        $bytes = [Convert]::FromBase64String($Data)
        $file = [IO.File]::Open($Path, 'OpenOrCreate', 'Write', 'Read')
        try {
            if ($Offset -gt $file.Length) { throw (New-Failure 'Gap' 'InvalidArgument' "byte $Offset came before byte $($file.Length)") }
            if ($Offset -eq 0) { $file.SetLength(0) }
            $null = $file.Seek($Offset, 'Begin')
            $file.Write($bytes, 0, $bytes.Length)
            [pscustomobject]@{ Length = $file.Length }
        } finally { $file.Dispose() }
    }

    function Compress-InteropData { # a picture of the screen is 1.5 MB
        [CmdletBinding()] param([byte[]]$Data)
        $packed = [IO.MemoryStream]::new()
        $stream = [IO.Compression.DeflateStream]::new($packed, [IO.Compression.CompressionMode]::Compress)
        $stream.Write($Data, 0, $Data.Length)
        $stream.Dispose()
        [Convert]::ToBase64String($packed.ToArray())
    }

    # A console is a pump from the machine's pipe to the file PATH. Whoever holds PATH.pump open is the pump; PATH.in is
    # what to type, and while it exists the pump runs. So any agent can read, type and stop, and take over from a dead one.
    $pump = {
        param($pipe, $path, $log, $hold)
        $buffer = [byte[]]::new(65536)
        $typed = 0
        while ([IO.File]::Exists("$path.in")) {
            $client = [IO.Pipes.NamedPipeClientStream]::new('.', $pipe, 'InOut', 'Asynchronous')
            try {
                $client.Connect(1)
                $reading = $null
                while ([IO.File]::Exists("$path.in")) {
                    if ($null -eq $reading) { $reading = $client.ReadAsync($buffer, 0, $buffer.Length) }
                    if ($reading.Wait(50)) {
                        if ($reading.Result -eq 0) { break }
                        $log.Write($buffer, 0, $reading.Result)
                        $log.Flush()
                        $reading = $null
                    }
                    if ([IO.FileInfo]::new("$path.in").Length -gt $typed) {
                        $keys = [IO.File]::Open("$path.in", 'Open', 'Read', 'ReadWrite, Delete')
                        $null = $keys.Seek($typed, 'Begin')
                        $more = [byte[]]::new($keys.Length - $typed)
                        $typed += $keys.Read($more, 0, $more.Length)
                        $keys.Dispose()
                        $client.Write($more, 0, $more.Length)
                    }
                }
            } catch { [Threading.Thread]::Sleep(100) } # off, or being reset: the pipe comes back
            finally { $client.Dispose() }
        }
        $log.Dispose()
        $hold.Dispose()
    }

    function Lock-InteropConsole([string]$path) { [IO.File]::Open("$path.pump", 'OpenOrCreate', 'Write', 'None') }

    function Stop-InteropConsole { # wherever its pump runs
        [CmdletBinding()] param([string]$Path)
        if ([IO.File]::Exists("$Path.in")) { [IO.File]::Delete("$Path.in") }
        for ($try = 0; [IO.File]::Exists("$Path.pump"); $try++) {
            try { (Lock-InteropConsole $Path).Dispose(); [IO.File]::Delete("$Path.pump") }
            catch [IO.IOException] { if ($try -gt 50) { throw }; [Threading.Thread]::Sleep(100) }
        }
    }

    function Start-InteropConsole { # before the machine: what a pipe says to nobody is lost
        [CmdletBinding()] param([string]$Pipe, [string]$Path, [switch]$Fresh)
        if ($Fresh) { Stop-InteropConsole -Path $Path }
        try { $hold = Lock-InteropConsole $Path } catch [IO.IOException] { return } # another pump is at it
        $log = [IO.File]::Open($Path, $(if ($Fresh) { 'Create' } else { 'OpenOrCreate' }), 'Write', 'ReadWrite, Delete')
        $null = $log.Seek(0, 'End')
        [IO.File]::Open("$Path.in", 'Create').Dispose()
        $space = [RunspaceFactory]::CreateRunspace([InitialSessionState]::CreateDefault2())
        $space.Open()
        $shell = [PowerShell]::Create()
        $shell.Runspace = $space
        $null = $shell.AddScript($pump.ToString()).AddArgument($Pipe).AddArgument($Path).AddArgument($log).AddArgument($hold)
        $null = $pumps.Add(@($shell, $shell.BeginInvoke()))
    }

    function Read-InteropConsole {
        [CmdletBinding()] param([string]$Path, [long]$Offset, [int]$Limit)
        if (-not [IO.File]::Exists($Path)) { return }
        $log = [IO.File]::Open($Path, 'Open', 'Read', 'ReadWrite, Delete')
        try {
            if ($log.Length -le $Offset) { return }
            $null = $log.Seek($Offset, 'Begin')
            $buffer = [byte[]]::new([Math]::Min($Limit, $log.Length - $Offset))
            [Convert]::ToBase64String($buffer, 0, $log.Read($buffer, 0, $buffer.Length))
        } finally { $log.Dispose() }
    }

    function Write-InteropConsole {
        [CmdletBinding()] param([string]$Path, [string]$Data)
        $keys = [IO.File]::Open("$Path.in", 'Append', 'Write', 'Read')
        try { $bytes = [Convert]::FromBase64String($Data); $keys.Write($bytes, 0, $bytes.Length) } finally { $keys.Dispose() }
    }

    function Get-ScriptDigest { # of the file that was started, without its signature: is it the agent of those who ask?
        $text = ([IO.File]::ReadAllText($PSCommandPath) -split '(?m)^# SIG # Begin', 2)[0].Replace("`r`n", "`n").TrimEnd() + "`n"
        $hash = [Security.Cryptography.SHA256]::Create().ComputeHash([Text.Encoding]::UTF8.GetBytes($text))
        [BitConverter]::ToString($hash).Replace('-', '').ToLowerInvariant()
    }

    function Get-Failure($record, [int]$step, $results) {
        $why = $record.Exception
        $message = $why.Message
        while ($null -ne ($why = $why.InnerException)) {
            if (-not $message.Contains($why.Message)) { $message += ' | ' + $why.Message }
        }
        @{
            ok = $false; step = $step; id = "$($record.FullyQualifiedErrorId)"; category = "$($record.CategoryInfo.Category)"
            hresult = $record.Exception.GetBaseException().HResult; message = $message; results = $results
        }
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
